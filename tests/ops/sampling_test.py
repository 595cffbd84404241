import numpy as np
from absl.testing import parameterized
from keras import ops
from scipy import stats

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.backend import Compiled
from tfshrink.ops import sampling

VOCABULARY = 300  # not a multiple of a block


def softmax(logits):
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def reference(logits, seen, temperature, top_k, top_p, penalty):
    """What `transformers` does, by sorting, in float64."""
    logits = logits.astype("float64")
    scaled = np.where(logits > 0, logits / penalty, logits * penalty)
    logits = np.where(seen, scaled, logits) / temperature
    out = np.zeros_like(logits)
    for row, values in zip(out, logits, strict=True):
        order = np.argsort(-values)
        order = order[: top_k or None]
        shares = softmax(values[order])
        before = np.cumsum(shares) - shares
        order = order[before < top_p]
        row[order] = softmax(values[order])
    return out


def tensors(*values):
    return [ops.convert_to_tensor(np.asarray(v)) for v in values]


def settings(temperature=1.0, top_k=0, top_p=1.0, penalty=1.0, seed=0):
    names = ("temperature", "top_p", "repetition_penalty")
    values = np.float32([temperature, top_p, penalty])
    return {
        **dict(zip(names, tensors(*values), strict=True)),
        "top_k": ops.convert_to_tensor(np.int32(top_k)),
        "key": ops.convert_to_tensor(np.array([seed, 0], "uint32")),
    }


class SamplingTest(TestCase):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(0)
        self.logits = random.normal(size=(4, VOCABULARY), scale=3)
        self.logits = self.logits.astype("float32")
        self.seen = random.random(self.logits.shape) < 0.2

    def probabilities(self, temperature, top_k, top_p, penalty):
        """Of `next_token`, up to the draw."""
        logits, seen = tensors(self.logits, self.seen)
        logits = sampling.penalize(logits, seen, penalty)
        weights = sampling.softmax_weights(logits, temperature)
        kept = Compiled(sampling.keep_likely)(
            weights, np.int32(top_k), np.float32(top_p)
        )
        kept = to_numpy(kept)
        return kept / kept.sum(-1, keepdims=True)

    @parameterized.parameters(
        (1.0, 0, 1.0, 1.0),
        (0.7, 0, 1.0, 1.3),
        (1.0, 1, 1.0, 1.0),
        (1.5, 40, 1.0, 1.0),
        (1.0, VOCABULARY, 1.0, 1.0),
        (1.0, 0, 0.9, 1.0),
        (2.0, 0, 0.99, 0.8),
        (1.0, 0, 1e-6, 1.0),
        (1.3, 20, 0.8, 1.2),
        (0.1, 5, 0.5, 1.0),
    )
    def test_probabilities_match_sorting_in_numpy(self, *values):
        expected = reference(self.logits, self.seen, *values)
        found = self.probabilities(*values)
        self.assertAllEqual(found > 0, expected > 1e-38)
        self.assertAllClose(found, expected, rtol=1e-4, atol=1e-7)

    def test_equal_tokens_are_kept_together(self):
        weights = np.float32([[1, 0.5, 0.5, 0.5, 0.25, 0]])
        for top_k, top_p, expected in (
            (2, 1.0, [1, 1, 1, 1, 0, 0]),
            (0, 0.5, [1, 1, 1, 1, 0, 0]),
            (0, 0.3, [1, 0, 0, 0, 0, 0]),
            (4, 0.95, [1, 1, 1, 1, 0, 0]),
            (6, 1.0, [1, 1, 1, 1, 1, 0]),
        ):
            kept = sampling.keep_likely(
                *tensors(weights, np.int32(top_k), np.float32(top_p))
            )
            self.assertAllEqual(to_numpy(kept)[0] > 0, expected)

    def test_choose_matches_searchsorted(self):
        # Small integers add up without rounding in any order.
        random = np.random.default_rng(1)
        for size in (1, 127, 128, 129, VOCABULARY):
            weights = random.integers(0, 4, (64, size)).astype("float32")
            weights[:, 0] += weights.sum(-1) == 0
            noise = random.integers(0, 2**24, 64) * np.float32(2.0**-24)
            noise[:2] = 0.0, 1 - 2.0**-24
            noise = noise.astype("float32")
            found = to_numpy(sampling.choose(*tensors(weights, noise)))
            target = noise * weights.sum(-1)
            expected = [
                np.searchsorted(np.cumsum(w), t, side="right")
                for w, t in zip(weights, target, strict=True)
            ]
            self.assertAllEqual(found, expected)

    def test_choose_never_takes_what_has_no_weight(self):
        random = np.random.default_rng(2)
        weights = random.random((512, 1000)).astype("float32") ** 8
        weights *= random.random(weights.shape) < 0.02
        weights[:, 500] += 1e-20
        noise = np.full(512, 1 - 2.0**-24, "float32")
        noise[::2] = random.random(256)
        chosen = to_numpy(sampling.choose(*tensors(weights, noise)))
        self.assertTrue((weights[np.arange(512), chosen] > 0).all())

    @parameterized.parameters((0, 1.0), (30, 0.9))
    def test_samples_match_their_probabilities(self, top_k, top_p):
        count = 20000
        logits = np.broadcast_to(self.logits[:1], (count, VOCABULARY))
        seen = np.zeros((count, VOCABULARY), "bool")
        sample = Compiled(sampling.next_token)
        tokens = to_numpy(
            sample(
                *tensors(logits, seen, np.arange(count, dtype="int32")),
                np.int32(7),
                settings(1.2, top_k, top_p, seed=5),
                np.bool_(False),
            )
        )
        expected = reference(
            self.logits[:1], self.seen[:1] & False, 1.2, top_k, top_p, 1.0
        )[0]
        counts = np.bincount(tokens, minlength=VOCABULARY)
        self.assertEqual(counts[expected == 0].sum(), 0)
        often = expected * count >= 5
        self.assertGreater(
            stats.chisquare(
                np.append(counts[often], counts[~often].sum() + 1e-9),
                np.append(
                    expected[often], expected[~often].sum() + 1e-9 / count
                )
                * count,
                sum_check=False,
            ).pvalue,
            1e-3,
        )

    def test_greedy_takes_the_likeliest_after_the_penalty(self):
        logits, seen = np.float32([[2, 3, 1], [-1, -2, -3]]), np.eye(3)[[1, 0]]
        for penalty, expected in ((1.0, [1, 0]), (2.0, [0, 0]), (4.0, [0, 1])):
            token = sampling.next_token(
                *tensors(logits, seen.astype("bool"), np.int32([0, 1])),
                *tensors(np.int32(0)),
                settings(penalty=penalty),
                *tensors(np.bool_(True)),
            )
            self.assertAllEqual(token, expected)
