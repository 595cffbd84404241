import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.ops import confidence

ROWS = np.array([[3.0, 1.0, 0.0, -2.0], [0.5, 0.5, 0.5, 0.5]], "float32")
SURE = np.array([[200.0, 0.0, -1.0, -2.0]], "float32")


class ConfidenceTest(TestCase):
    @parameterized.parameters(
        ("margin", lambda p, h: p[0] - p[1]),
        ("max", lambda p, h: p[0]),
        ("entropy", lambda p, h: 1 - h / np.log(4)),
        (
            "multi_level",
            lambda p, h: (
                0.6 * (p[0] - p[1]) + 0.3 * (p[1] - p[2]) + 0.1 / max(h, 1)
            ),
        ),
    )
    def test_logits_give_the_formula(self, name, formula):
        found = to_numpy(confidence.OF_LOGITS[name](ROWS))
        for row, value in zip(ROWS.astype("float64"), found, strict=True):
            p = np.exp(row) / np.exp(row).sum()
            wanted = formula(p, -(p * np.log(p)).sum())
            self.assertAllClose(value, wanted, atol=1e-6)

    @parameterized.parameters(*confidence.OF_LOGITS)
    def test_a_sure_exit_stays_within_one(self, name):
        value = to_numpy(confidence.OF_LOGITS[name](SURE))[0]
        self.assertBetween(value, 0.69, 1.0)

    def test_cosine_of_states(self):
        state = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]], "float32")
        earlier = np.array([[-1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], "float32")
        found = to_numpy(confidence.state_cosine(state, earlier))
        self.assertAllClose(found, [0.0, np.sqrt(0.5), 0.0], atol=1e-6)

    def test_thresholds_decay_towards_their_floor(self):
        places = np.array([0.0, 0.5, 1e3], "float32")
        found = confidence.decayed(0.8, places, floor=0.9, rate=4.0)
        wanted = [0.8, 0.8 * (0.9 + 0.1 * np.exp(-2)), 0.72]
        self.assertAllClose(to_numpy(found), wanted, atol=1e-6)

    def test_nothing_passes_a_threshold_of_one(self):
        sure = ops.convert_to_tensor([1.0, 0.5])
        self.assertAllEqual(to_numpy(confidence.may_leave(sure, 1.0)), [0, 0])
        self.assertAllEqual(to_numpy(confidence.may_leave(sure, 0.5)), [1, 0])
