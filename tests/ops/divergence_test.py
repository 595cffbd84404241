import numpy as np
from scipy.spatial import distance
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
