import numpy as np

from tests.test_case import TestCase
from tfshrink.analysis.robustness.figures import Figures
from tfshrink.analysis.robustness.figures import WindowScores
from tfshrink.analysis.robustness.window_batch import WindowBatch

TOKENS = np.array([10.0, 10.0, 5.0, 10.0, 10.0, 10.0])
SCORES = WindowScores(
    np.array([20.0, 25.0, 10.0, 30.0, 22.0, 28.0]),
    np.array([5.0, 4.0, 3.0, 2.0, 5.0, 3.0]),
    TOKENS,
)


def shifted(nats, correct):
    return WindowScores(
        SCORES.nats + nats * TOKENS, SCORES.correct + correct * TOKENS, TOKENS
    )


class WindowScoresTest(TestCase):
    def test_sums_of_a_batch_by_hand(self):
        mask = np.array([[0, 1, 1], [0, 0, 1], [0, 0, 0]], "float32")
        batch = WindowBatch(np.array([4, 7]), np.zeros((3, 3), "int32"), mask)
        nats = np.array([[1.0, 2.0], [30.0, 4.0], [50.0, 60.0]], "float32")
        ranks = np.array([[0, 3], [0, 0], [0, 0]])
        found = WindowScores.of_batch(nats, ranks, batch)
        self.assertAllEqual(found, [[3.0, 4.0], [1.0, 1.0], [2.0, 1.0]])

    def test_parts_are_put_in_order(self):
        parts = [
            (rows, WindowScores(*(x[rows] for x in SCORES)))
            for rows in (np.array([1, 4, 5]), np.array([0, 2, 3]))
        ]
        self.assertAllEqual(WindowScores.joined(parts, 6), SCORES)


class FiguresTest(TestCase):
    def test_levels_by_hand(self):
        found = Figures().levels(SCORES)
        self.assertAllClose(found["nats_per_token"]["value"], 135 / 55)
        self.assertAllClose(found["perplexity"]["value"], np.exp(135 / 55))
        self.assertAllClose(found["token_accuracy"]["value"], 22 / 55)

    def test_interval_matches_numpy(self):
        found = Figures(resamples=4000, confidence=0.9).levels(SCORES)
        random = np.random.default_rng(7)
        rows = random.integers(6, size=(20000, 6))
        means = SCORES.nats[rows].sum(1) / TOKENS[rows].sum(1)
        self.assertAllClose(
            found["nats_per_token"]["interval"],
            np.quantile(means, [0.05, 0.95]),
            atol=0.02,
        )
        self.assertAllClose(
            found["perplexity"]["interval"],
            np.exp(found["nats_per_token"]["interval"]),
        )

    def test_what_windows_share_cancels(self):
        found = Figures().change(shifted(0.5, -0.1), SCORES)
        self.assertAllClose(
            found,
            {
                "nats_rise": {"value": 0.5, "interval": [0.5, 0.5]},
                "perplexity_ratio": {
                    "value": np.exp(0.5),
                    "interval": [np.exp(0.5)] * 2,
                },
                "accuracy_drop": {"value": 0.1, "interval": [0.1, 0.1]},
            },
        )

    def test_excess_is_the_change_less_that_of_full_precision(self):
        found = Figures().excess(
            shifted(0.7, -0.3), shifted(0.1, -0.1), shifted(0.2, 0.0), SCORES
        )
        self.assertAllClose(found["nats_rise"]["value"], 0.4)
        self.assertAllClose(found["accuracy_drop"]["value"], 0.2)

    def test_a_figure_does_not_depend_on_those_before_it(self):
        figures = Figures(seed=3)
        first = figures.levels(SCORES)
        figures.change(shifted(0.1, 0.0), SCORES)
        self.assertEqual(figures.levels(SCORES), first)
        self.assertNotEqual(Figures(seed=4).levels(SCORES), first)
