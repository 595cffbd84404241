import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.stl.signals import check_window
from tfshrink.stl.signals import SIGNALS
from tfshrink.stl.signals import split_name
from tfshrink.stl.signals import traces
from tfshrink.stl.signals import windowed


def means(row, window):
    """Means of one trace by definition, the first full one at its start."""
    found = [
        sum(row[place - window + 1 : place + 1]) / window
        for place in range(window - 1, len(row))
    ]
    return [found[0]] * (window - 1) + found


class WindowedTest(TestCase):
    @parameterized.parameters(1, 2, 5, 16)
    def test_means_are_those_of_the_definition(self, window):
        values = np.random.default_rng(0).normal(size=(4, 40))
        lengths = np.array([40, 31, 17, 16])
        found = windowed(values, window, lengths)
        self.assertEqual(found.shape, values.shape)
        for row, own, length in zip(found, values, lengths, strict=True):
            wanted = means(own[:length].tolist(), window)
            self.assertAllClose(row[:length], wanted, atol=1e-12)

    def test_padding_has_no_say(self):
        values = np.random.default_rng(0).normal(size=(2, 12))
        padded = values.copy()
        padded[1, 7:] = np.nan
        found = windowed(padded, 4, [12, 7])
        self.assertAllEqual(found[1, :7], windowed(values, 4, [12, 7])[1, :7])
        self.assertTrue(np.isfinite(found[1, :7]).all())

    @parameterized.parameters(1e17, np.inf)
    def test_a_huge_value_counts_in_its_own_windows_alone(self, huge):
        # Such as the ratio of a gold token that the reference rules out.
        values = np.ones((1, 20))
        values[0, 6] = huge
        found = windowed(values, 4, [20])[0]
        self.assertAllEqual(found[:6], np.ones(6))
        self.assertAllClose(found[6:10], np.full(4, (huge + 3.0) / 4.0))
        self.assertAllEqual(found[10:], np.ones(10))

    def test_a_window_is_no_longer_than_any_prompt(self):
        values = np.zeros((2, 20))
        self.assertAllEqual(windowed(values, 8, [20, 8]), values)
        with self.assertRaisesRegex(UserError, "9 tokens where a prompt has 8"):
            windowed(values, 9, [20, 8])
        check_window(8, [8, 9])
        with self.assertRaisesRegex(UserError, "`formula` must not look at"):
            check_window(9, [9, 8])


class NamesTest(TestCase):
    @parameterized.parameters(
        ("jsd", ("jsd", 1)),
        ("jsd_mean16", ("jsd", 16)),
        ("factual_mean1", ("factual", 1)),
        (
            "max_probability_deviation_mean128",
            ("max_probability_deviation", 128),
        ),
        ("top5_overlap", ("top5_overlap", 1)),
        ("top5_overlap_mean4", ("top5_overlap", 4)),
    )
    def test_a_name_may_ask_for_a_mean(self, name, wanted):
        self.assertEqual(split_name(name), wanted)

    @parameterized.parameters(
        ("jsdd", "Did you mean `jsd`"),
        ("contxt", "Did you mean `context`"),
        ("factal_mean16", "Did you mean `factual_mean16`"),
        ("jsd_mean", "`signal` must be one of"),
        ("jsd_mean2_mean3", "`signal` must be one of"),
        ("jsd_mean0", "jsd_mean0 must be a mean of at least 1 token"),
    )
    def test_a_stranger_is_named(self, name, message):
        with self.assertRaisesRegex(UserError, message):
            split_name(name)

    def test_ranges_hold_what_is_best(self):
        for name, signal in SIGNALS.items():
            self.assertBetween(signal.best, signal.low, signal.high, name)
            self.assertEqual(split_name(name), (name, 1))
        # Two distributions without a common token.
        self.assertAllClose(SIGNALS["jsd"].high, np.log(2.0))


class TracesTest(TestCase):
    def test_a_formula_gets_what_it_names(self):
        random = np.random.default_rng(0)
        base = {
            name: random.random((2, 9)).astype("float32")
            for name in ("jsd", "factual", "context")
        }
        found = traces(base, ["jsd", "factual_mean3", "jsd_mean2"], [9, 9])
        self.assertEqual(list(found), ["jsd", "factual_mean3", "jsd_mean2"])
        self.assertAllEqual(found["jsd"], base["jsd"])
        for name, own, window in (
            ("factual_mean3", "factual", 3),
            ("jsd_mean2", "jsd", 2),
        ):
            wanted = [means(row.tolist(), window) for row in base[own]]
            self.assertAllClose(found[name], np.array(wanted))
            self.assertEqual(found[name].dtype, np.float32)

    def test_what_was_not_measured_is_named(self):
        base = {"jsd": np.zeros((1, 4)), "factual": np.ones((1, 4))}
        with self.assertRaisesRegex(
            UserError, "`signal` context is not measured.*jsd, factual"
        ):
            traces(base, ["jsd", "context_mean2"], [4])
