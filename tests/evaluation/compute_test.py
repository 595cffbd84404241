from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.decoder_config import DecoderConfig
from tfshrink.evaluation.compute import compute_cost
from tfshrink.models.sources import open_source
from tfshrink.plan import Plan

# By hand: 2 blocks of 36,864 weights, a tied head of 32,768; attention takes
# 2 products * 2 blocks * 4 heads * 16 = 256 MACs a cached token.
TINY = open_source("tiny").config
ATTENTION = 256 * 10


def cost(bits, ranks=None, config=TINY, **kwargs):
    plan = Plan.parse(bits, layers=2, tied=config.tied, **kwargs)
    return compute_cost(config, plan, context=10, ranks=ranks)


class ComputeTest(TestCase):
    @parameterized.parameters("16", "32")
    def test_full_precision_by_hand(self, bits):
        found = cost(bits)
        macs = 106_496 + ATTENTION
        self.assertEqual(found["macs"], macs)
        self.assertEqual(found["bit_operations"], macs * 256)
        self.assertEqual(found["scaled_flops"], 2 * macs)

    def test_four_bits_by_hand(self):
        found = cost("4")
        self.assertEqual(
            found["bit_operations"],
            73_728 * 4 * 16 + 32_768 * 8 * 16 + ATTENTION * 256,
        )
        self.assertEqual(
            found["scaled_flops"],
            2 * (73_728 / 4 + 32_768 / 2 + ATTENTION),
        )

    def test_int8_activations_halve_the_other_operand(self):
        found = cost("8", activations=8)
        self.assertEqual(
            found["bit_operations"], 106_496 * 64 + ATTENTION * 256
        )

    def test_adapters_add_products(self):
        ranks = {4: 32}
        extra = 2 * 1024 * 32  # inputs and outputs of a block sum to 1,024
        self.assertEqual(cost("4", ranks)["macs"] - cost("4")["macs"], extra)
        self.assertEqual(cost("8", ranks)["macs"], cost("8")["macs"])

    def test_pruning_scales_flops_and_nothing_else(self):
        pruned = cost("8:pruning=.5")
        self.assertEqual(pruned["macs"], cost("8")["macs"])
        matrices = 73_728 / 4 + 32_768 / 2  # the head stays whole
        self.assertEqual(pruned["scaled_flops"], 2 * (matrices + ATTENTION))

    def test_looking_up_an_untied_embedding_is_free(self):
        untied = DecoderConfig.from_json({**TINY.to_json(), "tied": False})
        self.assertEqual(cost("8", config=untied)["macs"], cost("8")["macs"])
