import numpy as np
from absl.testing import parameterized
from keras import ops

from tests import oracles
from tests.layers.layer_inputs import fit
from tests.layers.layer_inputs import precision
from tests.layers.layer_inputs import randomize
from tests.test_case import gradients_of
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.layers.switchable_dense import project
from tfshrink.layers.switchable_dense import SwitchableDense
from tfshrink.ops.quantize import WIDTHS

X = np.random.default_rng(0).normal(size=(2, 3, 16)).astype("float32")


def fitted(use_bias=False, **changes):
    layer = SwitchableDense(5, use_bias, precision(**changes))
    layer.build((None, None, 16))
    randomize(layer)
    fit(layer)
    return layer


def weight_at(layer, bits, weight=None):
    """The NumPy weight that `layer` should multiply by."""
    weight = to_numpy(layer.kernel) if weight is None else weight
    scale = to_numpy(layer.quantizer.scale(bits))
    return oracles.quantize_weight(weight, scale, bits)


class SwitchableDenseTest(TestCase):
    @parameterized.parameters(
        ({}, 5, 0),
        ({"bank": "codes"}, 5, 1),
        ({"bank": "latent"}, 6, 0),
        ({"placement": "inside"}, 5, 0),
        ({"ranks": ()}, 3, 0),
        ({"activations": 8}, 5, 0),
    )
    def test_layer(self, changes, trainable, fixed):
        self.run_layer_test(
            SwitchableDense,
            {"units": 5, "precision": precision(**changes)},
            input_shape=(2, 3, 16),
            call_kwargs={"bits": 4},
            expected_output_shape=(2, 3, 5),
            expected_num_trainable_weights=trainable,
            expected_num_non_trainable_weights=fixed,
        )

    def test_plain_layer(self):
        self.run_layer_test(
            SwitchableDense,
            {"units": 5, "use_bias": True},
            input_shape=(2, 3, 16),
            expected_output_shape=(2, 3, 5),
            expected_num_trainable_weights=2,
        )

    @parameterized.product(bits=WIDTHS, bank=("none", "codes"))
    def test_side_adapter_is_beside_the_quantized_product(self, bits, bank):
        layer = fitted(use_bias=True, bank=bank)
        weight = weight_at(layer, bits) + to_numpy(layer.adapters.delta(bits))
        self.assertAllClose(
            layer(X, bits=bits),
            X @ weight + to_numpy(layer.bias),
            rtol=1e-4,
            atol=1e-4,
        )

    @parameterized.parameters(*WIDTHS)
    def test_inside_adapter_is_quantized_with_the_weight(self, bits):
        layer = fitted(placement="inside")
        merged = to_numpy(layer.kernel) + to_numpy(layer.adapters.delta(bits))
        weight = weight_at(layer, bits, merged)
        self.assertAllClose(
            layer(X, bits=bits), X @ weight, rtol=1e-4, atol=1e-4
        )
        # It merges at export: nothing is left off the grid.
        self.assertAllClose(
            layer.quantizer(weight.astype("float32"), bits=bits),
            weight,
            atol=1e-6,
        )
        if bits in (4, 2):
            side = X @ (weight_at(layer, bits) + merged - layer.kernel)
            self.assertNotAllClose(layer(X, bits=bits), side, atol=1e-3)

    @parameterized.product(
        bits=(16, 32), placement=("side", "inside"), activations=(0, 8)
    )
    def test_full_precision_is_the_plain_layer_bit_for_bit(
        self, bits, placement, activations
    ):
        layer = fitted(placement=placement, activations=activations)
        plain = SwitchableDense(5)
        plain.build((None, None, 16))
        plain.set_weights([to_numpy(layer.kernel)])
        self.assertAllEqual(layer(X, bits=bits), plain(X))
        self.assertAllEqual(layer(X), plain(X))

    @parameterized.parameters(3, 5, 6, 7)
    def test_width_that_was_not_trained_is_rounding_alone(self, bits):
        layer = fitted(bank="codes")
        self.assertAllClose(
            layer(X, bits=bits),
            X @ weight_at(layer, bits),
            rtol=1e-4,
            atol=1e-5,
        )

    def test_activations_are_quantized_by_token(self):
        layer = fitted(activations=8)
        rows = np.stack([oracles.quantize_row_qd8(r) for r in X.reshape(6, 16)])
        down, up = map(
            to_numpy, layer.adapters.factors(ops.convert_to_tensor(4))
        )
        narrow = rows @ oracles.quantize_rows_int8(down).T
        narrow = np.stack([oracles.quantize_row_qd8(r) for r in narrow])
        adapted = narrow @ oracles.quantize_rows_int8(up.T).T
        self.assertAllClose(
            to_numpy(layer(X, bits=4)).reshape(6, 5),
            rows @ weight_at(layer, 4) + adapted,
            rtol=1e-4,
            atol=1e-4,
        )

    @parameterized.product(bits=(8, 4, 2, 3, 32), bank=("none", "codes"))
    def test_long_input_gives_what_short_inputs_give(self, bits, bank):
        layers = [fitted(use_bias=True, bank=bank) for _ in range(2)]
        long = np.random.default_rng(1).normal(size=(2, 20, 16))
        long = long.astype("float32")
        outputs = project(layers, long, bits)
        self.assertLen(outputs, 2)
        for layer, out in zip(layers, outputs, strict=True):
            parts = [
                layer(long[:, start : start + 10], bits=bits)
                for start in (0, 10)
            ]
            self.assertAllClose(
                out, np.concatenate(parts, axis=1), rtol=1e-4, atol=1e-4
            )

    def test_long_input_has_the_gradients_of_short_ones(self):
        layer = fitted()
        long = np.random.default_rng(1).normal(size=(1, 20, 16))
        long = long.astype("float32")
        _, found = gradients_of(layer, long, {"bits": 4})
        short = long.reshape(2, 10, 16)
        _, expected = gradients_of(layer, short, {"bits": 4})
        self.assertAllClose(found, expected, rtol=1e-4, atol=1e-5)
        self.assertLen([g for g in found if np.abs(g).max() > 0], 4)
