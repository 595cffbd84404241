import dataclasses

from absl.testing import parameterized

from tests.models import translators
from tests.test_case import TestCase
from tfshrink.decoder_config import DecoderConfig
from tfshrink.errors import UserError
from tfshrink.evaluation.cost import plan_cost
from tfshrink.evaluation.shapes import group_shapes
from tfshrink.evaluation.shapes import parameters
from tfshrink.evaluation.shapes import vector_parameters
from tfshrink.evaluation.size import adapter_ranks
from tfshrink.evaluation.size import effective_bits
from tfshrink.evaluation.size import model_bytes
from tfshrink.evaluation.size import reference_bytes
from tfshrink.evaluation.size import stored_bits
from tfshrink.evaluation.size import weight_bytes
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.models.decoder import Decoder
from tfshrink.models.encoder_decoder import EncoderDecoder
from tfshrink.models.sources import open_source
from tfshrink.plan import Plan

SMOLLM2 = DecoderConfig(
    vocabulary=49152,
    width=576,
    layers=30,
    heads=9,
    kv_heads=3,
    head_dim=64,
    hidden=1536,
    context=8192,
)
# The config of `tiny`. By hand: a block has 36,864 weights (8,192 + 4,096 +
# 16,384 + 8,192) and 512 outputs, the table 32,768 and 512; five norms of 64.
# One scale per channel takes 12 bytes.
TINY = open_source("tiny").config


def plan(bits, **kwargs):
    return Plan.parse(bits, layers=2, **kwargs)


class ShapesTest(TestCase):
    def test_parameters_of_smollm2_are_its_model_cards(self):
        self.assertEqual(parameters(SMOLLM2), 134_515_008)

    @parameterized.parameters(
        ({},),
        ({"tied": False, "attention_bias": True, "mlp_bias": True},),
        ({"norm": "layer", "attention_out_bias": True},),
        ({"positions": "learned", "gated": False, "mlp_bias": True},),
    )
    def test_parameters_match_a_built_decoder(self, changes):
        config = DecoderConfig.from_json({**TINY.to_json(), **changes})
        model = Decoder(config)
        model.build()
        self.assertEqual(parameters(config), model.count_params())

    @parameterized.parameters(True, False)
    def test_groups_match_a_built_decoder(self, tied):
        config = DecoderConfig.from_json({**TINY.to_json(), "tied": tied})
        model = Decoder(config)
        model.build()
        shapes = {
            name: [
                tuple(layer.kernel.shape)
                if hasattr(layer, "kernel")
                else tuple(layer.table.shape)[::-1]
                for layer in members
            ]
            for name, members in model.groups().items()
        }
        self.assertEqual(list(group_shapes(config).items()), [*shapes.items()])

    @parameterized.product(gated=(True, False), bias=(True, False))
    def test_an_encoder_decoder_matches_a_built_one(self, gated, bias):
        config = dataclasses.replace(
            translators.CONFIG,
            kv_heads=2,
            gated=gated,
            attention_bias=bias,
            attention_out_bias=bias,
            mlp_bias=bias,
        )
        model = EncoderDecoder(config)
        model.build()
        self.assertEqual(parameters(config), model.count_params())
        shapes = {
            name: [tuple(layer.kernel.shape) for layer in members]
            for name, members in model.groups().items()
            if name != "embedding"
        }
        shapes["embedding"] = [(config.width, config.vocabulary)]
        self.assertEqual(group_shapes(config), shapes)
        # At 16 bits what plans round; vectors stay at 32.
        vectors = vector_parameters(config)
        full = Plan.parse("16", layers=config.layers, tied=True)
        self.assertEqual(
            model_bytes(config, full), reference_bytes(config) + 2 * vectors
        )


class SizeTest(TestCase):
    @parameterized.parameters(
        (8, 0, 8, 8),
        (7, 64, 8, 8),
        (5, 0, 8, 8),
        (4, 64, 8, 4),
        (3, 0, 8, 4),
        (2, 0, 8, 2),
        (2, 0, 6, 4),  # native only where inputs come in fours
        (2, 32, 64, 4),  # blocks of 2 bits ship as 4
        (16, 0, 8, 16),
        (32, 64, 8, 32),
    )
    def test_stored_bits(self, bits, group, inputs, expected):
        self.assertEqual(stored_bits(bits, inputs, group), expected)

    @parameterized.parameters(
        ((64, 10), 8, 64, 640 + 120),
        ((64, 10), 4, 0, 320 + 120),
        ((64, 10), 4, 32, 320 + 40),
        ((64, 10), 3, 64, 320 + 20),
        ((64, 10), 2, 0, 160 + 120),
        ((64, 10), 2, 64, 320 + 20),
        ((64, 10), 16, 64, 1280),
        ((5, 3), 4, 0, 8 + 36),  # fifteen half bytes
    )
    def test_weight_bytes_by_hand(self, shape, bits, group, expected):
        self.assertEqual(weight_bytes(shape, bits, group), expected)

    @parameterized.parameters(
        ("8", 64, 106_496 + 1536 * 12 + 1280),
        ("4", 64, 36_864 + 1152 * 2 + 38_912 + 1280),
        ("4", 0, 36_864 + 1024 * 12 + 38_912 + 1280),
        ("3", 64, 36_864 + 1152 * 2 + 38_912 + 1280),
        ("2", 64, 36_864 + 1152 * 2 + 38_912 + 1280),
        ("2", 0, 18_432 + 1024 * 12 + 38_912 + 1280),
        ("16", 64, 2 * 106_496 + 1280),
        ("32", 64, 4 * 106_496 + 1280),
    )
    def test_model_bytes_by_hand(self, bits, group, expected):
        self.assertEqual(model_bytes(TINY, plan(bits, group=group)), expected)

    def test_only_adapters_of_the_plans_widths_count(self):
        ranks = adapter_ranks(PrecisionConfig())
        self.assertEqual(ranks, {8: 16, 4: 32, 2: 64})
        # Inputs and outputs of a block's seven layers sum to 1,024.
        for bits, rank in ranks.items():
            extra = model_bytes(TINY, plan(bits), ranks)
            extra -= model_bytes(TINY, plan(bits))
            # And 512 outputs, each with a scale; so has each of the ranks.
            scales = 12 * (7 * rank + 512)
            self.assertEqual(extra, 2 * (1024 * rank + scales))
        untrained = plan("5")
        self.assertEqual(
            model_bytes(TINY, untrained, ranks), model_bytes(TINY, untrained)
        )

    def test_adapters_inside_the_quantizer_merge(self):
        self.assertEqual(adapter_ranks(PrecisionConfig(placement="inside")), {})
        self.assertEqual(adapter_ranks(PrecisionConfig(ranks=())), {})
        self.assertEqual(adapter_ranks(None), {})

    def test_unstructured_pruning_saves_nothing(self):
        pruned = plan("8:pruning=.5")
        self.assertEqual(
            model_bytes(TINY, pruned), model_bytes(TINY, plan("8"))
        )

    def test_untied_head_counts_apart(self):
        untied = DecoderConfig.from_json({**TINY.to_json(), "tied": False})
        more = model_bytes(untied, Plan.parse("8", layers=2, tied=False))
        self.assertEqual(more - model_bytes(TINY, plan("8")), 38_912)

    def test_gpt2_adds_vectors_and_positions(self):
        config = open_source("tiny-gpt2").config
        # k and v are as wide as q, one up projection of two.
        codes = 2 * (4 * 4096 + 2 * 8192) + 32_768
        scales = 2 * (4 * 64 + 128 + 64) + 512
        vectors = 5 * 128 + 2 * (3 * 64 + 64 + 128 + 64)
        expected = codes + 12 * scales + 4 * vectors + 4 * 512 * 64
        self.assertEqual(model_bytes(config, plan("8")), expected)

    def test_effective_bits_weigh_by_parameters(self):
        self.assertEqual(effective_bits(TINY, plan("8")), 8.0)
        self.assertAllClose(
            effective_bits(TINY, plan("4")),
            (73_728 * 4 + 32_768 * 8) / 106_496,
        )

    def test_group_that_does_not_divide_the_inputs(self):
        with self.assertRaisesRegex(UserError, "group.*576.*group=128"):
            model_bytes(SMOLLM2, Plan.parse("4", layers=30, group=128))
        # Eight bits have no groups: nothing to divide.
        model_bytes(SMOLLM2, Plan.parse("8", layers=30, group=128))

    def test_smollm2_by_hand(self):
        cost = plan_cost(SMOLLM2, Plan.parse("8", layers=30))
        # Outputs of a block: 576 + 2 * 192 + 576 + 2 * 1536 + 576.
        scales = 30 * 5184 + 49152
        expected = 134_479_872 - 35_136 + 35_136 + 12 * scales + 4 * 35_136
        self.assertEqual(cost["bytes"], expected)
        self.assertEqual(reference_bytes(SMOLLM2), 269_030_016)
        self.assertAllClose(cost["compression"], 269_030_016 / expected)
