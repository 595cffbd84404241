import keras
import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tests.test_case import to_tensor
from tfshrink.ops import noise

RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.normal(0.2, 2.0, (6, 4)).astype("float32")
UNIFORM = RANDOM.uniform(-0.5, 0.5, (6, 4)).astype("float32")


class RelativeNoiseTest(TestCase):
    def test_matches_numpy(self):
        found = noise.with_relative_noise(*map(to_tensor, (WEIGHT, UNIFORM)), 3)
        size = 3 * np.sqrt((WEIGHT.astype("float64") ** 2).mean())
        self.assertAllClose(found, WEIGHT + size * UNIFORM, rtol=1e-5)

    def test_zero_changes_nothing_and_the_type_stays(self):
        weight = ops.cast(WEIGHT, "bfloat16")
        found = noise.with_relative_noise(weight, to_tensor(UNIFORM), 0.0)
        self.assertEqual(
            keras.backend.standardize_dtype(found.dtype), "bfloat16"
        )
        self.assertAllEqual(
            ops.cast(found, "float32"), ops.cast(weight, "float32")
        )


class StepNoiseTest(TestCase):
    @parameterized.product(bits=(2, 3, 4, 8), axis=(0, 1))
    def test_weight_matches_numpy(self, bits, axis):
        found = noise.with_step_noise(
            to_tensor(WEIGHT), to_tensor(UNIFORM), bits, axis=axis
        )
        # The last level is the peak: 1.5 steps at 2 bits, 7 at 4.
        levels = 1.5 if bits == 2 else 2 ** (bits - 1) - 1
        step = np.abs(WEIGHT).max(axis=axis, keepdims=True) / levels
        self.assertAllClose(found, WEIGHT + step * UNIFORM, rtol=1e-5)

    def test_rounding_errs_as_much_as_the_noise(self):
        weight = np.random.default_rng(3).normal(size=(4000, 1))
        step = np.abs(weight).max() / 7
        error = np.sqrt(((np.rint(weight / step) * step - weight) ** 2).mean())
        uniform = np.random.default_rng(4).uniform(-0.5, 0.5, weight.shape)
        weight, uniform = weight.astype("float32"), uniform.astype("float32")
        found = noise.with_step_noise(*map(to_tensor, (weight, uniform)), 4)
        added = np.sqrt(((to_numpy(found) - weight) ** 2).mean())
        self.assertAllClose(added, error, rtol=0.05)

    @parameterized.parameters(2, 4, 8)
    def test_rows_match_numpy(self, bits):
        x = np.stack([WEIGHT, np.abs(WEIGHT), np.zeros_like(WEIGHT)])
        uniform = np.stack([UNIFORM] * 3)
        found = noise.with_row_step_noise(
            to_tensor(x), to_tensor(uniform), np.float32(bits)
        )
        low = np.minimum(x.min(-1, keepdims=True), 0)
        high = np.maximum(x.max(-1, keepdims=True), 0)
        step = (high - low) / (2**bits - 1)
        self.assertAllClose(found, x + step * uniform, rtol=1e-5)
