import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.evaluation.token_scores import token_scores


def numpy_scores(logits, targets):
    """Log-softmax and rank in float64, of equal logits the first wins."""
    logits = logits.astype("float64")
    peak = logits.max(-1, keepdims=True)
    normalizer = peak + np.log(np.exp(logits - peak).sum(-1, keepdims=True))
    rows = np.arange(len(targets))
    order = np.argsort(-logits, axis=-1, kind="stable")
    ranks = np.argmax(order == targets[:, None], axis=-1)
    return (normalizer - logits)[rows, targets], ranks


class TokenScoresTest(TestCase):
    @parameterized.parameters(1, 7, 256, 300, 512)
    def test_scores_match_numpy(self, count):
        random = np.random.RandomState(count)
        hidden = random.normal(size=(count, 16)).astype("float32")
        columns = random.normal(size=(16, 50)).astype("float32")
        targets = random.randint(0, 50, count).astype("int32")
        nats, ranks = token_scores(hidden, columns, targets)
        expected = numpy_scores(hidden @ columns, targets)
        self.assertAllClose(to_numpy(nats), expected[0], rtol=1e-5, atol=1e-5)
        self.assertAllEqual(ranks, expected[1])

    def test_ties_rank_the_lower_token_first(self):
        hidden = np.ones((4, 1), "float32")
        columns = np.array([[1, 3, 3, 3]], "float32")
        nats, ranks = token_scores(
            hidden, columns, np.array([0, 1, 2, 3], "int32")
        )
        self.assertAllEqual(ranks, [3, 0, 1, 2])
        self.assertAllClose(to_numpy(nats)[1:], [to_numpy(nats)[1]] * 3)

    def test_large_logits_stay_finite(self):
        columns = np.array([[1e4, -1e4]], "float32")
        nats, _ = token_scores(
            np.ones((2, 1), "float32"), columns, np.array([0, 1], "int32")
        )
        self.assertAllClose(to_numpy(nats), [0.0, 2e4])
