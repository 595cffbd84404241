import numpy as np
from absl.testing import parameterized

from tests.layers.layer_inputs import GPT2
from tests.layers.layer_inputs import LLAMA
from tests.layers.layer_inputs import randomize
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink import backend
from tfshrink.errors import UserError
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.models.decoder import Decoder
from tfshrink.models.load import fit_scales
from tfshrink.models.load import weight_variables
from tfshrink.plan import Plan

TOKENS = np.random.default_rng(0).integers(0, 32, (2, 6)).astype("int32")


def built(config=LLAMA):
    model = Decoder(config, PrecisionConfig(group=0, ranks=(1, 1, 1)))
    model.build()
    randomize(model)
    fit_scales(model, method="rtn")
    return model


class SetBitmapTest(TestCase):
    def test_calls_follow_what_is_set_in_one_trace(self):
        model = built()
        full = to_numpy(model(TOKENS))
        count = len(model.variables)
        model.set_bitmap(8)
        run = backend.Compiled(
            lambda x: model(x), model.variables + model.switch.variables
        )
        for plan in ("4", "stripe-8-4", "2"):
            bits = Plan.parse(plan, layers=2, group=0).bits
            expected = to_numpy(model(TOKENS, np.array(bits)))
            model.set_bitmap(plan)
            self.assertEqual(model.bitmap, bits)
            self.assertAllClose(model(TOKENS), expected)
            self.assertAllClose(run(TOKENS), expected, rtol=1e-4, atol=1e-5)
            self.assertNotAllClose(expected, full, atol=1e-3)
        self.assertEqual(run.traces, 1)
        # Nothing below a call is switched: a teacher stays a teacher.
        self.assertAllClose(model.logits(model.hidden(TOKENS)), full)
        self.assertLen(model.variables, count)
        for variable in weight_variables(model):
            self.assertNotIn("bitmap", variable.path)
        model.set_bitmap(None)
        self.assertIsNone(model.bitmap)
        self.assertIsNone(model.layer_precision())
        self.assertAllClose(model(TOKENS), full)
        self.assertAllClose(run(TOKENS), full, rtol=1e-4, atol=1e-5)

    def test_a_plan_or_a_list_is_a_bitmap_too(self):
        model = built()
        bits = [8, 8, 4, 4, 2, 2, 8, 8]
        plan = Plan.from_block_bits(bits, layers=2, group=0)
        for given in (bits, np.array(bits), plan, [*bits, 8]):
            model.set_bitmap(given)
            self.assertEqual(model.bitmap, (*bits, 8))

    @parameterized.parameters(LLAMA, GPT2)
    def test_layer_precision_reads_back(self, config):
        model = built(config)
        rows = [
            {"attn_bits": 8, "mlp_bits": 4},
            {"attn_bits": (4, 8), "mlp_bits": 2},
        ]
        model.set_layer_precision(rows)
        self.assertEqual(model.layer_precision(), rows)
        outer = (8,) if config.tied else (8, 8)
        self.assertEqual(model.bitmap, (8, 8, 4, 4, 4, 8, 2, 2, *outer))

    @parameterized.parameters(
        ([8, 8], "must have 8 bit-widths"),
        (9, "between 2 and 8"),
        (Plan.parse("8", layers=3, group=0), "must be for 2 blocks"),
        (Plan.parse("8", layers=2, group=64), "group=0"),
    )
    def test_a_plan_of_another_model_is_refused(self, plan, message):
        with self.assertRaisesRegex(UserError, message):
            built().set_bitmap(plan)

    def test_a_plain_model_has_nothing_to_set(self):
        model = Decoder(LLAMA)
        self.assertIsNone(model.bitmap)
        with self.assertRaisesRegex(UserError, "`precision` must be given"):
            model.set_bitmap(8)
