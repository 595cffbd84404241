import numpy as np
from absl.testing import parameterized
from keras import ops
from scipy.spatial import distance
from scipy.special import log_softmax
from scipy.special import rel_entr
from scipy.special import softmax

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.ops import divergence


def logits(seed, tokens=6, vocabulary=300):
    random = np.random.default_rng(seed)
    return 3.0 * random.normal(size=(tokens, vocabulary)).astype("float32")


class DivergenceTest(TestCase):
    def setUp(self):
        super().setUp()
        self.a, self.b = logits(0), logits(1)
        self.p = softmax(self.a.astype("float64"), -1).astype("float32")
        self.q = softmax(self.b.astype("float64"), -1).astype("float32")

    def test_probabilities_are_a_softmax(self):
        self.assertAllClose(divergence.probabilities(self.a), self.p, rtol=1e-5)
        large = divergence.probabilities(np.array([[1e4, 0.0]], "float32"))
        self.assertAllEqual(large, [[1.0, 0.0]])

    def test_jensen_shannon_is_scipys(self):
        wanted = distance.jensenshannon(self.p, self.q, axis=-1) ** 2
        found = divergence.jensen_shannon(self.p, self.q)
        self.assertAllClose(found, wanted, rtol=1e-4)

    def test_jensen_shannon_of_equals_and_of_strangers(self):
        same = divergence.jensen_shannon(self.p, self.p)
        self.assertAllEqual(same, np.zeros(6))
        apart = np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]], "float32")
        found = divergence.jensen_shannon(apart, apart[::-1])
        self.assertAllClose(found, [np.log(2)] * 2, rtol=1e-5)

    def test_small_differences_are_not_lost(self):
        near = softmax(self.a.astype("float64") + 1e-3 * self.b, -1)
        wanted = distance.jensenshannon(
            softmax(self.a.astype("float64"), -1), near, axis=-1
        )
        found = divergence.jensen_shannon(self.p, near.astype("float32"))
        self.assertAllClose(found, wanted**2, rtol=0.05, atol=1e-8)

    @parameterized.parameters((80, 512), (256, 300), (64, 4096))
    def test_many_rows_are_scipys_too(self, tokens, vocabulary):
        # XLA vectorizes a loop over these otherwise than one over few.
        a, b = (logits(seed, tokens, vocabulary) for seed in (0, 1))
        p, q = (softmax(x.astype("float64"), -1) for x in (a, b))
        wanted = distance.jensenshannon(p, q, axis=-1) ** 2
        p, q = p.astype("float32"), q.astype("float32")
        found = divergence.jensen_shannon(p, q)
        self.assertAllClose(found, wanted, rtol=1e-4)
        first = np.zeros(tokens, "int32")
        found = divergence.compare(p, b, first, first)["jsd"]
        self.assertAllClose(found, wanted, rtol=1e-4)
        kl = divergence.compare_logits(a, b)["kl"]
        self.assertAllClose(kl, rel_entr(p, q).sum(-1), rtol=1e-3)

    def test_probability_ratio_of_the_likeliest_or_a_given_token(self):
        rows = np.arange(6)
        top = self.p.argmax(-1)
        found = divergence.probability_ratio(self.p, self.q)
        self.assertAllClose(found, self.q[rows, top] / self.p[rows, top])
        given = np.array([0, 7, 1, 299, 5, 5])
        found = divergence.probability_ratio(self.p, self.q, given)
        self.assertAllClose(found, self.q[rows, given] / self.p[rows, given])

    def test_overlap_counts_common_tokens_in_any_order(self):
        reference = np.array([[9, 8, 7, 6, 5, 0, 0, 0]], "float32")
        other = np.array([[5, 6, 7, 0, 0, 9, 8, 0]], "float32")
        found = divergence.top_overlap(reference, other)
        self.assertAllClose(found, [0.6])
        self.assertAllClose(divergence.top_overlap(self.a, self.a), np.ones(6))

    def test_peaks_differ_by_their_height(self):
        found = divergence.peak_difference(self.p, self.q)
        self.assertAllClose(found, np.abs(self.p.max(-1) - self.q.max(-1)))

    def test_cosine_is_that_of_the_angle(self):
        found = to_numpy(divergence.cosine(self.a, self.b))
        wanted = [
            1.0 - distance.cosine(x, y)
            for x, y in zip(self.a, self.b, strict=True)
        ]
        self.assertAllClose(found, wanted, atol=1e-6)
        zeros = np.zeros_like(self.a)
        self.assertAllEqual(divergence.cosine(self.a, zeros), np.zeros(6))


class CompareTest(TestCase):
    def setUp(self):
        super().setUp()
        self.a, self.b = logits(0), logits(1)
        random = np.random.default_rng(2)
        self.watched, self.following = random.integers(
            0, 300, (2, 6), dtype="int32"
        )

    def compare(self, a, b):
        p = softmax(np.asarray(a, "float64"), -1).astype("float32")
        return divergence.compare(p, b, self.watched, self.following)

    def test_values_are_scipys(self):
        rows = np.arange(6)
        log_q = log_softmax(self.b.astype("float64"), -1)
        p = softmax(self.a.astype("float64"), -1)
        wanted = {
            "jsd": distance.jensenshannon(p, np.exp(log_q), axis=-1) ** 2,
            "watched": log_q[rows, self.watched],
            "nats": -log_q[rows, self.following],
            "peak": np.exp(log_q.max(-1)),
        }
        found = self.compare(self.a, self.b)
        self.assertAllClose(found, wanted, rtol=1e-4, atol=1e-6)
        for values in found.values():
            self.assertIn("float32", str(values.dtype))

    def test_a_model_is_like_itself(self):
        p = divergence.probabilities(self.a)
        found = divergence.compare(p, self.a, self.watched, self.following)
        self.assertAllEqual(found["jsd"], np.zeros(6))
        self.assertAllEqual(found["peak"], to_numpy(p).max(-1))

    def test_a_tiny_probability_has_its_logarithm(self):
        narrow = np.zeros((6, 300), "float32")
        narrow[:, 7] = 150.0  # exp(-150) is no float32
        rows = np.full(6, 3, "int32")
        p = divergence.probabilities(self.a)
        found = divergence.compare(p, narrow, rows, rows)
        self.assertAllClose(found["watched"], np.full(6, -150.0))
        self.assertAllClose(found["nats"], np.full(6, 150.0))
        self.assertAllClose(found["peak"], np.ones(6))

    def test_bfloat16_logits_are_widened(self):
        narrow = ops.cast(self.b, "bfloat16")
        wide = to_numpy(ops.cast(narrow, "float32"))
        self.assertAllEqual(
            self.compare(self.a, narrow), self.compare(self.a, wide)
        )

    @parameterized.parameters(1.0, 1e-3)
    def test_logits_are_compared_as_scipy_does(self, size):
        # A search looks at small differences, too.
        a = self.a.astype("float64")
        b = (self.a + size * self.b).astype("float32").astype("float64")
        wanted = {
            "kl": rel_entr(softmax(a, -1), softmax(b, -1)).sum(-1),
            "logit_cosine": [
                1.0 - distance.cosine(x, y) for x, y in zip(a, b, strict=True)
            ],
            "mse": ((a - b) ** 2).mean(-1),
            "mae": np.abs(a - b).mean(-1),
        }
        found = divergence.compare_logits(self.a, b.astype("float32"))
        self.assertAllClose(found, wanted, rtol=2e-3, atol=5e-7)

    def test_divergence_goes_from_the_reference_to_the_model(self):
        there = to_numpy(divergence.compare_logits(self.a, self.b)["kl"])
        back = to_numpy(divergence.compare_logits(self.b, self.a)["kl"])
        self.assertGreater(np.abs(there - back).min(), 1e-2)
        p, q = (softmax(x.astype("float64"), -1) for x in (self.a, self.b))
        self.assertAllClose(there, rel_entr(p, q).sum(-1), rtol=1e-4)

    def test_equal_logits_are_at_no_distance(self):
        found = divergence.compare_logits(self.a, self.a)
        for name in ("kl", "mse", "mae"):
            self.assertAllEqual(found[name], np.zeros(6), name)
        self.assertAllClose(found["logit_cosine"], np.ones(6))
        # Logits all moved together predict the same.
        moved = divergence.compare_logits(self.a, self.a + 4.0)
        self.assertAllClose(moved["kl"], np.zeros(6), atol=1e-5)
        self.assertAllClose(moved["mse"], np.full(6, 16.0), rtol=1e-5)
        self.assertAllClose(moved["mae"], np.full(6, 4.0), rtol=1e-5)
