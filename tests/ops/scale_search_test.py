import ml_dtypes
import numpy as np
from absl.testing import parameterized

from tests import oracles
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.ops import quantize
from tfshrink.ops.scale_search import peak_scale
from tfshrink.ops.scale_search import search_scale


def errors(weight, scale, bits, axis=0, importance=1.0):
    """Summed squared error of every (group, output)."""
    rounded = oracles.quantize_weight(weight, scale, bits, axis)
    squares = importance * (rounded - weight) ** 2
    squares, scale = (squares, scale) if axis == 0 else (squares.T, scale.T)
    return squares.reshape(len(scale), -1, squares.shape[1]).sum(1)


def rounding_scale(weight, bits, groups, axis=0):
    grouped = quantize.group_view(weight, groups, axis)
    scale = to_numpy(peak_scale(grouped, bits, axis))
    # What ships: scales of groups are bfloat16 values.
    rounded = scale.astype(ml_dtypes.bfloat16).astype("float32")
    return rounded if groups > 1 else scale


class ScaleSearchTest(TestCase):
    def test_peak_lands_on_the_last_level(self):
        weight = np.array([[1.0, -6.0], [-3.0, 2.0]], "float32")
        for bits, last in ((2, 1.5), (3, 3), (4, 7), (8, 127)):
            self.assertAllClose(
                rounding_scale(weight, bits, 1), [[3 / last, 6 / last]]
            )
            self.assertAllClose(
                rounding_scale(weight, bits, 1, axis=1),
                [[6 / last], [3 / last]],
            )

    @parameterized.product(
        bits=oracles.WIDTHS, layout=((1, 0), (8, 0), (1, 1), (4, 1))
    )
    def test_error_is_never_above_rounding(self, bits, layout):
        groups, axis = layout
        random = np.random.default_rng(bits)
        shape = (256, 24) if axis == 0 else (24, 256)
        for weight in (random.normal(size=shape), random.laplace(size=shape)):
            weight = weight.astype("float32")
            best = search_scale(weight, bits, groups, axis=axis)
            peak = rounding_scale(weight, bits, groups, axis)
            self.assertEqual(best.shape, peak.shape)
            found = errors(weight, best, bits, axis)
            rounded = errors(weight, peak, bits, axis)
            self.assertTrue((found <= (1 + 1e-5) * rounded).all())
            self.assertLess(found.sum(), rounded.sum())

    # At 8 bits 128 values leave much to luck among a thousand scales.
    @parameterized.parameters((2, 1.03), (3, 1.03), (4, 1.03), (8, 1.2))
    def test_error_is_near_the_best_of_all_scales(self, bits, factor):
        weight = np.random.default_rng(3).normal(size=(128, 4))
        weight = weight.astype("float32")
        found = errors(weight, search_scale(weight, bits, 1), bits)
        peak = rounding_scale(weight, bits, 1)
        tried = [
            errors(weight, peak * part, bits)
            for part in np.linspace(0.05, 1.2, 1000)
        ]
        self.assertTrue((found <= factor * np.min(tried, axis=0)).all())

    def test_importance_decides_which_error_counts(self):
        weight = np.random.default_rng(4).normal(size=(128, 6))
        weight = weight.astype("float32")
        importance = np.random.default_rng(5).lognormal(sigma=2, size=128)
        column = importance[:, None]
        plain = search_scale(weight, 3, 2)
        aware = search_scale(weight, 3, 2, importance=importance)
        self.assertLess(
            errors(weight, aware, 3, importance=column).sum(),
            errors(weight, plain, 3, importance=column).sum(),
        )
        self.assertLess(
            errors(weight, plain, 3).sum(), errors(weight, aware, 3).sum()
        )

    def test_group_of_zeros_has_a_positive_scale(self):
        scale = search_scale(np.zeros((64, 2), "float32"), 4, 2)
        self.assertTrue((scale > 0).all())
