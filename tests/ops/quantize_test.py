import keras
import ml_dtypes
import numpy as np
from absl.testing import parameterized
from keras import ops

from tests import oracles
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink import backend
from tfshrink.fusion import fuse
from tfshrink.ops import quantize


def gradients(function, *arrays):
    """Value of `function(*tensors)` and its gradient in every argument."""
    variables = [keras.Variable(x) for x in arrays]
    loss, _, grads = backend.value_and_gradients(
        lambda: (function(*[ops.convert_to_tensor(v) for v in variables]), ()),
        variables,
    )
    return to_numpy(loss), [to_numpy(g) for g in grads]


class GridTest(TestCase):
    @parameterized.parameters(
        (2, -2, 1, 0.5),
        (3, -3, 3, 0.0),
        (4, -7, 7, 0.0),
        (5, -15, 15, 0.0),
        (6, -31, 31, 0.0),
        (7, -63, 63, 0.0),
        (8, -127, 127, 0.0),
    )
    def test_grid_matches_the_table(self, bits, low, high, offset):
        self.assertAllEqual(
            [to_numpy(x) for x in quantize.grid(bits)], [low, high, offset]
        )

    @parameterized.parameters(*oracles.WIDTHS)
    def test_every_level_is_used_and_no_other(self, bits):
        top = oracles.levels(bits)[-1]
        steps = np.linspace(-2 * top, 2 * top, 4001, dtype="float32")
        found = np.unique(to_numpy(quantize.to_levels(steps, bits)))
        self.assertAllEqual(found, oracles.levels(bits))
        self.assertAllEqual(found, -found[::-1])

    def test_two_bits_read_code_plus_a_half(self):
        scale = np.float32(0.25)
        weight = np.array([-9.0, -0.3, -0.2, 0.01, 0.3, 9.0], "float32")
        self.assertAllEqual(
            to_numpy(quantize.fake_quantize(weight, scale, 2)) / scale - 0.5,
            [-2, -2, -1, 0, 1, 1],
        )


class FakeQuantizeTest(TestCase):
    @parameterized.parameters(*oracles.WIDTHS)
    def test_weight_matches_numpy(self, bits):
        random = np.random.default_rng(bits)
        weight = random.normal(size=(24, 5)).astype("float32")
        for groups, axis in ((1, 0), (3, 0), (1, 1), (5, 1)):
            shape = (groups, 5) if axis == 0 else (24, groups)
            scale = random.uniform(0.1, 0.5, shape).astype("float32")
            self.assertAllClose(
                quantize.quantize_weight(weight, scale, bits, axis=axis),
                oracles.quantize_weight(weight, scale, bits, axis),
            )

    @parameterized.parameters(16, 32)
    def test_full_precision_is_bit_for_bit_the_weight(self, bits):
        weight = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
        scale = np.full((1, 3), 0.3, "float32")
        self.assertAllEqual(
            quantize.quantize_weight(weight, scale, bits), weight
        )

    @parameterized.parameters(*oracles.WIDTHS)
    def test_gradient_matches_lsq(self, bits):
        # arXiv:1902.08153, equations 3 and 5, on the grid of this width.
        random = np.random.default_rng(bits)
        weight = random.normal(size=(16, 4)).astype("float32")
        top = oracles.levels(bits)[-1]
        scale = random.uniform(0.5, 1.5, (1, 4)).astype("float32")
        scale /= np.float32(top)
        upstream = random.normal(size=(16, 4)).astype("float32")
        _, (by_weight, by_scale) = gradients(
            lambda w, s: ops.sum(
                upstream * quantize.quantize_weight(w, s, bits)
            ),
            weight,
            scale,
        )
        steps = weight / scale
        inside = np.abs(steps) < top
        level = oracles.nearest_level(steps, bits)
        slope = np.where(inside, level - steps, np.sign(steps) * top)
        self.assertAllClose(by_weight, upstream * inside)
        self.assertAllClose(
            by_scale[0], (upstream * slope).sum(0), rtol=1e-4, atol=1e-4
        )
        self.assertGreater((~inside).sum(), 0)

    def test_full_precision_gradient_bypasses_the_scale(self):
        weight = np.array([[0.3], [9.0]], "float32")
        _, (by_weight, by_scale) = gradients(
            lambda w, s: ops.sum(quantize.quantize_weight(w, s, 16)),
            weight,
            np.ones((1, 1), "float32"),
        )
        self.assertAllEqual(by_weight, np.ones((2, 1)))
        self.assertAllEqual(by_scale, np.zeros((1, 1)))

    def test_scale_gradient_keeps_the_value(self):
        value, (gradient,) = gradients(
            lambda x: ops.sum(quantize.scale_gradient(x, 0.25) * 3.0),
            np.array([2.0, 5.0], "float32"),
        )
        self.assertAllClose(value, 21.0)
        self.assertAllClose(gradient, [0.75, 0.75])

    def test_bfloat16_rounding_matches_ml_dtypes_compiled_too(self):
        x = np.random.default_rng(0).lognormal(size=4096).astype("float32")
        expected = x.astype(ml_dtypes.bfloat16).astype("float32")
        self.assertAllEqual(quantize.round_bfloat16(x), expected)
        compiled = backend.Compiled(quantize.round_bfloat16)
        self.assertAllEqual(compiled(x), expected)
        fused = fuse(quantize.round_bfloat16)
        self.assertAllEqual(fused(ops.convert_to_tensor(x)), expected)

    @parameterized.parameters((2, 0), (2, 1), (3, 0), (4, 1), (8, 0))
    def test_codes_and_soft_codes_read_back_as_the_weight(self, bits, axis):
        random = np.random.default_rng(bits)
        weight = random.normal(size=(12, 6)).astype("float32")
        shape = (3, 6) if axis == 0 else (12, 3)
        scale = random.uniform(0.1, 0.5, shape).astype("float32")
        expected = oracles.quantize_weight(weight, scale, bits, axis)
        wide = np.repeat(scale, 12 // 3 if axis == 0 else 6 // 3, axis)
        offset = 0.5 if bits == 2 else 0.0
        codes = (expected / wide - offset).round().astype("int8")
        soft = (weight / wide - offset).astype("float32")
        for given in (codes, soft):
            self.assertAllClose(
                quantize.dequantize_weight(
                    ops.convert_to_tensor(given), scale, bits, axis=axis
                ),
                expected,
            )


class QuantizeActivationsTest(TestCase):
    def test_rows_match_a_table_worked_by_hand(self):
        rows = np.array(
            [
                [0.0, 255.0, 3.4],  # step 1, zero point -128
                [-255.0, 0.0, -3.4],  # step 1, zero point 127
                [0.0, 0.0, 0.0],
                [-127.5, 127.5, 2.5],  # zero point -0.5: rounds to 0
            ],
            "float32",
        )
        self.assertAllClose(
            quantize.quantize_activations(rows),
            [
                [0.0, 255.0, 3.0],
                [-255.0, 0.0, -3.0],
                [0.0, 0.0, 0.0],
                [-128.0, 127.0, 2.0],
            ],
        )

    @parameterized.parameters(0.0, 3.0, -3.0, 0.4)
    def test_random_rows_match_the_xnnpack_algorithm(self, shift):
        random = np.random.default_rng(1)
        size = random.lognormal(sigma=3, size=(64, 1))
        rows = (random.normal(shift, 1, (64, 40)) * size).astype("float32")
        self.assertAllClose(
            quantize.quantize_activations(rows),
            np.stack([oracles.quantize_row_qd8(row) for row in rows]),
            rtol=1e-6,
            atol=0,
        )

    def test_error_is_at_most_half_a_step_inside(self):
        x = np.random.default_rng(2).normal(size=(4, 7, 33)).astype("float32")
        out = to_numpy(quantize.quantize_activations(x))
        step = (x.max(-1) - x.min(-1)) / 255
        self.assertEqual(out.shape, x.shape)
        # The nudged zero point costs an end of the range half a step more.
        self.assertTrue((np.abs(out - x) <= 1.01 * step[..., None]).all())
        self.assertLess(np.median(np.abs(out - x) / step[..., None]), 0.5)

    def test_type_is_kept_and_gradient_passes(self):
        x = ops.ones((2, 3), "bfloat16")
        out = quantize.quantize_activations(x)
        self.assertEqual(keras.backend.standardize_dtype(out.dtype), "bfloat16")
        weights = np.array([[1.0, -2.0, 3.0]], "float32")
        _, (gradient,) = gradients(
            lambda x: ops.sum(quantize.quantize_activations(x) * weights),
            np.array([[0.2, -0.7, 5.0]], "float32"),
        )
        self.assertAllEqual(gradient, weights)
