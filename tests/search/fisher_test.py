from unittest import mock

import numpy as np
from absl.testing import parameterized
from scipy import stats
from scipy.special import log_softmax
from scipy.special import softmax

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink import backend
from tfshrink.data.prompts import Prompts
from tfshrink.models.load import load_model
from tfshrink.search import fisher as fisher_lib
from tfshrink.search.fisher import draw
from tfshrink.search.fisher import Fisher

STEP = 0.02  # of a weight, for differences of logits
SEEN = 400  # tokens from here on are in no prompt


def prompts():
    """Two short ones; the second has padding behind it."""
    random = np.random.default_rng(3)
    tokens = random.integers(3, SEEN, (2, 6)).astype("int32")
    lengths = np.array([6, 4], "int32")
    tokens[1, 4:] = 0
    gold = np.full_like(tokens, -1)
    return Prompts(tokens, lengths, gold, ("text",) * 2, "0" * 64)


def kernels(members):
    """The weights of a layer group."""
    return [
        own.table if hasattr(own, "table") else own.kernel for own in members
    ]


def places(kernel, count, random):
    """Some places of a kernel.

    Of a table they lie in its end: what is looked up there changes with it, and
    the Fisher information is of the head alone.
    """
    least = {512: SEEN}.get(kernel.shape[0], 0)
    return [
        (
            int(random.integers(least, kernel.shape[0])),
            int(random.integers(kernel.shape[1])),
        )
        for _ in range(count)
    ]


def slopes(call, kernel, place):
    """Derivative of all logits by one weight `(B, T, V)`, and the logits."""
    value, found = np.array(kernel), []
    for step in (STEP, -STEP, 0.0):
        moved = value.copy()
        moved[place] += step
        kernel.assign(moved)
        found.append(to_numpy(call(prompts().tokens)).astype("float64"))
    return (found[0] - found[1]) / (2 * STEP), found[2]


def drawn_square(call, kernel, place, draws):
    """Squared derivative of the log-likelihood of tokens, summed over draws."""
    slope, logits = slopes(call, kernel, place)
    # Of log p(y): that of its logit, less its mean under p.
    p = np.exp(log_softmax(logits, -1))
    slope = slope - np.sum(p * slope, axis=-1, keepdims=True)
    mask, total = prompts().mask, 0.0
    for tokens in draws:
        own = np.take_along_axis(slope, tokens[..., None], -1)[..., 0]
        total += own[mask].sum() ** 2
    return total


def true_fisher(call, kernel, place):
    """The diagonal at one weight: expectation over the whole vocabulary."""
    slope, logits = slopes(call, kernel, place)
    p = softmax(logits, axis=-1)
    mean = np.sum(p * slope, axis=-1, keepdims=True)
    square = np.sum(p * (slope - mean) ** 2, axis=-1)
    return square[prompts().mask].sum()


def at(own, number, place):
    """Kernels of a group that moved by one, in one weight alone."""
    moved = [np.zeros(kernel.shape, "float32") for kernel in own]
    moved[number][place] = 1.0
    return moved


class FisherTest(TestCase):
    def weights(self, model, count):
        """Some weights of every kernel: group, kernel, place, its move."""
        random = np.random.default_rng(0)
        for index, members in enumerate(model.groups().values()):
            own = kernels(members)
            for number, kernel in enumerate(own):
                for place in places(kernel, count, random):
                    yield index, kernel, place, at(own, number, place)

    @parameterized.parameters("tiny", "tiny-gpt2")
    def test_squares_are_those_of_the_drawn_tokens(self, name):
        model, draws = load_model(name), []

        def recorded(logits, random):
            draws.append(draw(logits, random))
            return draws[-1]

        with mock.patch.object(fisher_lib, "draw", recorded):
            fisher = Fisher(model, prompts(), passes=3)
        self.assertLen(draws, 3)
        self.assertEqual(fisher.tokens, 3 * 10)
        call = backend.Compiled(model, model.variables)
        found, wanted = [], []
        for index, kernel, place, moved in self.weights(model, 2):
            found.append(fisher.divergence(index, moved))
            square = drawn_square(call, kernel, place, draws)
            wanted.append(0.5 * square / fisher.tokens)
        scale = np.mean(wanted)
        self.assertAllClose(found, wanted, rtol=0.03, atol=1e-4 * scale)

    def test_diagonal_matches_brute_force_over_the_vocabulary(self):
        model, passes = load_model("tiny"), 120
        fisher = Fisher(model, prompts(), passes=passes)
        call = backend.Compiled(model, model.variables)
        found, wanted = [], []
        # Rows of the table mostly wait for one rare token: not these.
        for index, kernel, place, moved in list(self.weights(model, 1))[:-1]:
            found.append(2 * 10 * fisher.divergence(index, moved))
            wanted.append(true_fisher(call, kernel, place))
        ratios = np.array(found) / wanted
        # A square of something normal: a ratio's variance is 2 / passes.
        apart = np.sqrt(2 / passes)
        self.assertAllClose(ratios, np.ones(14), rtol=4 * apart)
        self.assertAllClose(np.mean(ratios), 1.0, rtol=apart)

    def test_moves_of_many_weights_add_up(self):
        fisher = Fisher(load_model("tiny"), prompts(), passes=1)
        random = np.random.default_rng(0)
        moved = random.normal(size=(64, 64)).astype("float32")
        parts = [np.where(np.eye(64) == one, moved, 0.0) for one in (0, 1)]
        found = [fisher.divergence(1, [part]) for part in (*parts, moved)]
        self.assertAllClose(found[0] + found[1], found[2], rtol=1e-5)
        twice = fisher.divergence(1, [2 * moved])
        self.assertAllClose(twice, 4 * found[2], rtol=1e-5)

    def test_seed_decides_what_is_drawn(self):
        model = load_model("tiny")
        moved = [np.ones((64, 64), "float32")]
        found = [
            Fisher(model, prompts(), passes=1, seed=seed).divergence(1, moved)
            for seed in (0, 0, 1)
        ]
        self.assertAllClose(found[0], found[1], rtol=1e-5)
        self.assertNotAllClose(found[0], found[2], rtol=1e-2)


class DrawTest(TestCase):
    def test_frequencies_follow_the_distribution(self):
        random = np.random.default_rng(0)
        logits = random.normal(size=(1, 3, 7)).astype("float32") * 2
        many = np.broadcast_to(logits, (20_000, 3, 7))
        drawn = draw(many, random)
        self.assertEqual(drawn.shape, (20_000, 3))
        self.assertEqual(drawn.dtype, np.int32)
        for place in range(3):
            counts = np.bincount(drawn[:, place], minlength=7)
            wanted = softmax(logits[0, place].astype("float64"))
            test = stats.chisquare(counts, 20_000 * wanted)
            self.assertGreater(test.pvalue, 0.01)

    def test_tokens_are_drawn_by_themselves(self):
        logits = np.zeros((4000, 2, 2), "float32")
        drawn = draw(logits, np.random.default_rng(1))
        table = np.histogram2d(*drawn.T, bins=2)[0]
        self.assertGreater(stats.chi2_contingency(table).pvalue, 0.01)

    def test_what_is_impossible_is_never_drawn(self):
        logits = np.full((50, 40, 9), -np.inf, "float32")
        logits[..., 4] = -1000.0
        found = draw(logits, np.random.default_rng(0))
        self.assertAllEqual(found, np.full((50, 40), 4))
