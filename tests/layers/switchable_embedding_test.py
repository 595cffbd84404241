import numpy as np
from absl.testing import parameterized

from tests import oracles
from tests.layers.layer_inputs import precision
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.layers.switchable_embedding import SwitchableEmbedding
from tfshrink.ops.quantize import WIDTHS

TOKENS = np.array([[0, 3, 9], [7, 7, 2]], "int32")


def fitted():
    layer = SwitchableEmbedding(10, 16, precision(ranks=()))
    layer.build()
    layer.quantizer.fit(layer.table, WIDTHS)
    return layer


class SwitchableEmbeddingTest(TestCase):
    @parameterized.parameters((None, 1), (4, 3), (8, 3))
    def test_layer(self, bits, trainable):
        self.run_layer_test(
            SwitchableEmbedding,
            {
                "vocabulary": 10,
                "width": 16,
                "precision": bits and precision(ranks=()),
            },
            inputs=TOKENS,
            call_kwargs={"bits": bits},
            expected_output_shape=(2, 3, 16),
            expected_num_trainable_weights=trainable,
        )

    @parameterized.parameters(*WIDTHS)
    def test_rows_and_head_match_numpy(self, bits):
        layer = fitted()
        scale = to_numpy(layer.quantizer.scale(bits))
        table = oracles.quantize_weight(
            to_numpy(layer.table), scale, bits, axis=1
        )
        self.assertAllClose(layer(TOKENS, bits=bits), table[TOKENS])
        self.assertAllClose(layer.head(bits), table)

    @parameterized.parameters(None, 16, 32)
    def test_full_precision_is_the_table_bit_for_bit(self, bits):
        layer = fitted()
        table = to_numpy(layer.table)
        self.assertAllEqual(layer(TOKENS, bits=bits), table[TOKENS])
        self.assertAllEqual(layer.head(bits), table)
