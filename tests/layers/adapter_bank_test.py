import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.layers.layer_inputs import precision
from tests.layers.layer_inputs import randomize
from tests.test_case import gradients_of
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.layers.adapter_bank import AdapterBank


def built(seed=0, **changes):
    layer = AdapterBank(6, 5, precision(**changes))
    layer.build()
    return randomize(layer, seed)


class AdapterBankTest(TestCase):
    def test_layer(self):
        self.run_layer_test(
            AdapterBank,
            {"inputs": 6, "outputs": 5, "precision": precision()},
            input_shape=(2, 3, 6),
            call_kwargs={"bits": 4},
            expected_output_shape=(2, 3, 5),
            expected_num_trainable_weights=2,
        )

    @parameterized.parameters((8, 0, 1), (4, 1, 2), (2, 3, 4))
    def test_product_matches_numpy(self, bits, start, rank):
        layer = built(alpha=1.5)
        rows = layer.rows(bits)
        self.assertEqual((rows.start, rows.stop), (start, start + rank))
        down, up = to_numpy(layer.down)[rows], to_numpy(layer.up)[rows]
        x = np.random.default_rng(1).normal(size=(2, 3, 6)).astype("float32")
        expected = 1.5 * 2.0 ** ((2 - bits) / 2) * down.T @ up
        self.assertAllClose(layer.delta(bits), expected)
        self.assertAllClose(
            layer(x, bits=bits), x @ expected, rtol=1e-5, atol=1e-6
        )

    @parameterized.parameters(3, 5, 6, 7, 16, 32)
    def test_width_that_was_not_trained_has_no_adapter(self, bits):
        layer = built()
        self.assertAllEqual(layer.delta(bits), np.zeros((6, 5)))
        self.assertAllEqual(
            layer(ops.ones((1, 6)), bits=bits), np.zeros((1, 5))
        )

    def test_a_new_adapter_changes_nothing(self):
        layer = AdapterBank(6, 5, precision())
        layer.build()
        self.assertAllEqual(layer.delta(2), np.zeros((6, 5)))
        self.assertGreater(np.abs(to_numpy(layer.down)).min(), 0)

    def test_start_depends_on_the_name_alone(self):
        def start(name):
            layer = AdapterBank(6, 5, precision(), name=name)
            layer.build()
            return to_numpy(layer.down)

        self.assertAllEqual(start("one"), start("one"))
        self.assertNotAllClose(start("one"), start("two"))

    def test_only_the_adapter_in_use_learns(self):
        layer = built()
        _, (by_down, by_up) = gradients_of(
            layer, np.ones((2, 6), "float32"), {"bits": 4}
        )
        for gradient in (by_down, by_up):
            used = np.abs(gradient).max(axis=1) > 0  # one a rank
            self.assertAllEqual(used, [False] + [True] * 2 + [False] * 4)
