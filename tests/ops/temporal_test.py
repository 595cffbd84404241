import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.test_case import TestCase
from tfshrink.ops import temporal

X = np.random.default_rng(0).normal(size=(3, 40)).astype("float32")


class TemporalTest(TestCase):
    @parameterized.product(start=(0, 1, 7), width=(1, 2, 3, 8, 13, 40, 90))
    def test_windows_are_windows(self, start, width):
        stop = start + width - 1
        found = temporal.windowed(X.T, start, stop, ops.minimum, np.inf)
        wanted = [
            np.min(X[:, t + start : t + stop + 1], axis=1, initial=np.inf)
            for t in range(40)
        ]
        self.assertAllEqual(found, np.stack(wanted))

    @parameterized.parameters(1, 5, 8, 13, 39, 40)
    def test_sums_count_each_sample_once(self, width):
        found = temporal.windowed(
            X.T, 0, width - 1, ops.add, 0.0, overlap=False
        )
        wanted = [X[:, t : t + width].sum(1) for t in range(40)]
        self.assertAllClose(found, np.stack(wanted), atol=1e-5)

    def test_windows_behind_the_end_see_what_fills_it(self):
        found = temporal.windowed(X.T, 50, 60, ops.minimum, 3.0)
        self.assertAllEqual(found, np.full_like(X.T, 3.0))
        last = X.T[-1:]
        found = temporal.windowed(X.T, 50, None, ops.minimum, last)
        self.assertAllEqual(found, np.repeat(last, 40, 0))

    @parameterized.parameters(True, False)
    def test_until_by_its_recursion(self, inclusive):
        left, right = X.T, X.T[::-1]
        found = np.asarray(temporal.until(left, right, inclusive=inclusive))
        value = np.full(3, -np.inf)
        for t in reversed(range(40)):
            if inclusive:
                value = np.minimum(left[t], np.maximum(right[t], value))
            else:
                value = np.maximum(right[t], np.minimum(left[t], value))
            self.assertAllEqual(found[t], value)
