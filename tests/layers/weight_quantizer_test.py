import ml_dtypes
import numpy as np
from absl.testing import parameterized

from tests import oracles
from tests.layers.layer_inputs import precision
from tests.test_case import gradients_of
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.errors import UserError
from tfshrink.layers.weight_quantizer import WeightQuantizer
from tfshrink.ops.quantize import WIDTHS

WEIGHT = np.random.default_rng(0).normal(size=(32, 16)).astype("float32")


def fitted(axis=0, method="mse", widths=WIDTHS, **changes):
    layer = WeightQuantizer(precision(**changes), axis=axis)
    layer.build(WEIGHT.shape)
    layer.fit(WEIGHT, widths, method=method)
    return layer


class WeightQuantizerTest(TestCase):
    @parameterized.product(bits=(2, 8), axis=(0, 1), bank=("none", "latent"))
    def test_layer(self, bits, axis, bank):
        self.run_layer_test(
            WeightQuantizer,
            {"precision": precision(bank=bank), "axis": axis},
            inputs=WEIGHT,
            call_kwargs={"bits": bits},
            expected_output_shape=WEIGHT.shape,
            expected_num_trainable_weights=2 if bank == "none" else 3,
            expected_num_non_trainable_weights=0,
        )

    @parameterized.product(
        bits=(*WIDTHS, 16, 32),
        axis=(0, 1),
        group=(0, 8),
        bank=("none", "codes"),
    )
    def test_weight_matches_numpy(self, bits, axis, group, bank):
        layer = fitted(axis, widths={bits} & {*WIDTHS}, group=group, bank=bank)
        out = to_numpy(layer(WEIGHT, bits=bits))
        if bits >= 16:
            self.assertAllEqual(out, WEIGHT)
            return
        scale = to_numpy(layer.scale(bits))
        groups = WEIGHT.shape[axis] // group if group else 1
        self.assertEqual(scale.shape[axis], groups)
        self.assertAllClose(
            out, oracles.quantize_weight(WEIGHT, scale, bits, axis)
        )

    @parameterized.product(bits=(2, 3, 4, 8), axis=(0, 1), group=(0, 8))
    def test_squared_error_scales_beat_rounding(self, bits, axis, group):
        errors = [
            np.sum(
                (
                    to_numpy(
                        fitted(axis, m, {bits}, group=group)(WEIGHT, bits=bits)
                    )
                    - WEIGHT
                )
                ** 2
            )
            for m in ("mse", "rtn")
        ]
        self.assertLessEqual(errors[0], errors[1])

    @parameterized.parameters("mse", "rtn")
    def test_group_scales_are_bfloat16_values(self, method):
        layer = fitted(method=method)
        layer.group_scales.assign(layer.group_scales + 0.123)  # trained
        for bits in (2, 3, 4):
            scale = to_numpy(layer.scale(bits))
            self.assertAllEqual(
                scale.astype(ml_dtypes.bfloat16).astype("float32"), scale
            )

    def test_wide_codes_have_one_scale_a_channel(self):
        layer = fitted()
        for bits in (5, 6, 7, 8):
            scale = to_numpy(layer.scale(bits))  # (groups, outputs)
            self.assertAllEqual(scale, scale[:1].repeat(4, axis=0))
            self.assertEqual(layer.groups_at(bits), 1)
        self.assertEqual(layer.groups_at(4), 4)

    def test_a_set_scale_reads_back(self):
        layer = fitted()
        for bits, groups in ((4, 4), (8, 1)):
            scale = np.random.default_rng(1).uniform(0.1, 1, (groups, 16))
            scale = scale.astype(ml_dtypes.bfloat16).astype("float32")
            layer.set_scale(bits, scale)
            self.assertAllClose(
                layer.scale(bits), scale.repeat(4 // groups, axis=0)
            )

    @parameterized.product(bits=(8, 4, 2), axis=(0, 1))
    def test_codes_of_a_bank_round_trip(self, bits, axis):
        layer = fitted(axis, widths={bits}, bank="codes")
        codes = layer.codes(WEIGHT, bits)
        self.assertEqual(codes.dtype, np.int8)
        self.assertAllEqual(
            layer.bank[layer.precision.widths.index(bits)], codes
        )
        out = to_numpy(layer(WEIGHT, bits=bits))
        self.assertAllEqual(layer.codes(out, bits), codes)
        levels = oracles.levels(bits) - (0.5 if bits == 2 else 0.0)
        self.assertContainsSubset(np.unique(codes), levels)
        if bits == 2:
            self.assertAllEqual(np.unique(codes), [-2, -1, 0, 1])

    def test_a_bank_is_read_in_place_of_the_weight(self):
        layer = fitted(bank="codes", bank_widths=(4,))
        codes = np.random.default_rng(1).integers(-7, 8, WEIGHT.shape)
        layer.set_codes(4, codes.astype("int8"))
        scale = np.repeat(to_numpy(layer.scale(4)), 8, axis=0)
        self.assertAllClose(layer(WEIGHT, bits=4), codes * scale)
        self.assertAllClose(
            layer(WEIGHT, bits=2),
            oracles.quantize_weight(WEIGHT, to_numpy(layer.scale(2)), 2),
        )

    @parameterized.parameters((2, 2), (4, 1))
    def test_latent_codes_learn_straight_through(self, bits, row):
        layer = fitted(widths={bits}, bank="latent", group=0)
        soft = np.random.default_rng(2).uniform(-3, 3, WEIGHT.shape)
        soft = soft.astype("float32")
        layer.set_codes(bits, soft)
        scale = to_numpy(layer.scale(bits))
        offset = 0.5 if bits == 2 else 0.0
        top = oracles.levels(bits)[-1]
        out = oracles.nearest_level(soft + offset, bits) * scale
        self.assertAllClose(layer(WEIGHT, bits=bits), out)
        _, gradients = gradients_of(layer, WEIGHT, {"bits": bits})
        by_code = gradients[-1]  # of mean(out ** 2)
        inside = np.abs(soft + offset) < top
        self.assertAllClose(
            by_code[row], 2 * out * scale * inside / WEIGHT.size, atol=1e-7
        )
        others = [r for r in range(3) if r != row]
        self.assertAllEqual(by_code[others], 0 * by_code[others])

    @parameterized.parameters(2, 3, 4, 5, 8)
    def test_gradient_of_the_log_scale_matches_lsq(self, bits):
        layer = fitted(group=8, method="rtn", widths={bits})
        layer.channel_scales.assign(layer.channel_scales - 0.5)
        layer.group_scales.assign(layer.group_scales - 0.5)
        _, (by_channel, by_group) = gradients_of(layer, WEIGHT, {"bits": bits})
        scale = to_numpy(layer.scale(bits)).repeat(8, axis=0)
        raw = (
            layer.group_scales[bits - 2]
            if bits <= 4
            else (layer.channel_scales[bits - 5])
        )
        raw = np.exp(to_numpy(raw)).repeat(32 // raw.shape[0], axis=0)
        steps = WEIGHT / scale
        level = oracles.nearest_level(steps, bits)
        top = oracles.levels(bits)[-1]
        inside = np.abs(steps) < top
        slope = np.where(inside, level - steps, np.sign(steps) * top)
        terms = 2 * level * scale / WEIGHT.size * slope * raw
        if bits <= 4:
            found, row, other = by_group, bits - 2, by_channel
            expected = terms.reshape(4, 8, 16).sum(1)
        else:
            found, row, other = by_channel, bits - 5, by_group
            expected = terms.sum(0, keepdims=True)
        self.assertAllClose(found[row], expected, rtol=1e-3, atol=1e-5)
        self.assertAllEqual(other, 0 * other)

    @parameterized.parameters("none", "codes")
    def test_rows_equal_rows_of_the_whole(self, bank):
        layer = fitted(axis=1, bank=bank)
        tokens = np.array([[0, 5, 5], [31, 2, 9]])
        for bits in (*WIDTHS, 16):
            self.assertAllClose(
                layer.rows(WEIGHT, tokens, bits),
                to_numpy(layer(WEIGHT, bits=bits))[tokens],
            )

    def test_importance_moves_the_scales(self):
        layer = fitted()
        before = to_numpy(layer.scale(3))
        importance = np.random.default_rng(1).lognormal(sigma=2, size=32)
        layer.fit(WEIGHT, (3,), importance=importance)
        self.assertNotAllClose(layer.scale(3), before)

    def test_group_that_does_not_divide_the_inputs(self):
        layer = WeightQuantizer(precision(group=24), name="quantizer")
        with self.assertRaisesRegex(
            UserError, "`group` must divide the 32 inputs of quantizer.*24"
        ):
            layer.build(WEIGHT.shape)
