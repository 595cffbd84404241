import json

from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.layers.precision_config import PrecisionConfig


class PrecisionConfigTest(TestCase):
    @parameterized.parameters(
        ({"widths": (8, 1)}, "`widths`.*1"),
        ({"widths": (16, 8, 4)}, "`widths`.*16"),
        ({"ranks": (16, 32)}, "`ranks`.*one rank per trained width"),
        ({"placement": "outside"}, "`placement`.*'outside'"),
        ({"bank": "code"}, "`bank`.*'code'"),
        ({"bank": "codes", "placement": "inside"}, "`bank`.*re-quantize"),
        ({"bank": "codes", "bank_widths": (3,)}, "`bank_widths`.*3"),
        ({"activations": 4}, "`activations`.*4"),
        ({"group": -64}, "`group`.*-64"),
    )
    def test_bad_arguments_are_named(self, arguments, pattern):
        with self.assertRaisesRegex(UserError, pattern):
            PrecisionConfig(**arguments)

    def test_json_reads_back_as_the_same(self):
        config = PrecisionConfig(bank="codes", bank_widths=(4, 2), group=32)
        text = json.dumps(config.to_json())
        self.assertEqual(PrecisionConfig.from_json(json.loads(text)), config)

    def test_widths_with_a_bank(self):
        self.assertEqual(PrecisionConfig().banked, ())
        self.assertEqual(PrecisionConfig(bank="codes").banked, (8, 4, 2))
        some = PrecisionConfig(bank="latent", bank_widths=(2,))
        self.assertEqual(some.banked, (2,))

    def test_groups_are_for_four_bits_and_below(self):
        config = PrecisionConfig(group=64)
        self.assertEqual(
            [config.group_of(bits) for bits in (2, 3, 4, 5, 8)],
            [64, 64, 64, 0, 0],
        )
