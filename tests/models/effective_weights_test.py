import dataclasses

import numpy as np
from absl.testing import parameterized

from tests.layers.layer_inputs import randomize
from tests.test_case import TestCase
from tests.training import tiny
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.models.decoder import Decoder
from tfshrink.models.effective_weights import bits_beside
from tfshrink.models.effective_weights import EffectiveWeights
from tfshrink.models.effective_weights import weights_in_force
from tfshrink.models.load import fit_scales
from tfshrink.models.load import load_model
from tfshrink.models.sources import open_source
from tfshrink.structure import plan_tensor

TOKENS = np.arange(12, dtype="int32").reshape(2, 6)


def model(name, **structure):
    """A tiny model whose adapters and scales differ from block to block."""
    made = tiny.model(name, **structure)
    random = np.random.default_rng(0)
    for variable in made.trainable_variables:
        if "/adapters/" in variable.path or variable.path.endswith("bias"):
            noise = random.normal(0, 0.05, variable.shape)
            variable.assign(np.asarray(variable) + noise)
    return made


class EffectiveWeightsTest(TestCase):
    @parameterized.product(
        name=("tiny", "tiny-gpt2"), placement=("side", "inside")
    )
    def test_they_stand_for_the_bits(self, name, placement):
        bank = "codes" if placement == "side" else "none"
        turned = (name == "tiny") == (placement == "side")
        own = model(name, placement=placement, bank=bank)
        resolve = EffectiveWeights(own, turned=turned)
        outputs = []
        removing = ":heads=.5:channels=.25"
        pruning = ":pruning=.5"
        for plan in tiny.plans(
            "8",
            "stripe-8-2",
            "4",
            "32",
            "4" + removing,
            "32" + removing,
            "4" + pruning,
            "8:channels=.25" + pruning,
        ):
            bits = plan_tensor(own.config, plan)
            wanted = own(TOKENS, bits)
            with weights_in_force(own, resolve(bits), turned=turned):
                found = own(TOKENS)
            self.assertAllClose(found, wanted, atol=2e-5)
            outputs.append(wanted)
        self.assertNotAllClose(outputs[0], outputs[2], atol=1e-2)
        self.assertNotAllClose(outputs[2], outputs[4], atol=1e-2)
        self.assertNotAllClose(outputs[2], outputs[6], atol=1e-2)
        self.assertEqual(resolve.traces, 3)  # without and with removal, pruned
        with weights_in_force(own, resolve(), turned=turned):
            self.assertAllClose(own(TOKENS), outputs[3], atol=2e-5)

    def test_a_model_without_precisions_has_its_own(self):
        own = load_model("tiny")
        weights = EffectiveWeights(own)()
        for variable in own.variables:
            if variable.path in weights:
                self.assertAllEqual(weights[variable.path], variable)
        self.assertLen(weights, 2 * 7 + 1)  # two blocks, the embedding

    def test_new_values_of_the_model_are_read(self):
        own = model("tiny")
        bits = np.array(tiny.plans("4")[0].bits, "int32")
        resolve = EffectiveWeights(own)
        before = resolve(bits)
        last = own.blocks[-1].mlp.down
        last.kernel.assign(2.0 * np.asarray(last.kernel))
        after = resolve(bits)
        changed = [
            path
            for path, value in after.items()
            if np.any(np.asarray(value) != np.asarray(before[path]))
        ]
        self.assertEqual(changed, [last.kernel.path])

    @parameterized.product(activations=(0, 8), turned=(False, True))
    def test_an_untied_head_is_one_of_them(self, activations, turned):
        config = dataclasses.replace(open_source("tiny").config, tied=False)
        precision = PrecisionConfig(
            widths=(8, 4), ranks=(), group=32, activations=activations
        )
        own = Decoder(config, precision=precision, name="decoder")
        own.build()
        randomize(own.head, 3, size=0.2)
        fit_scales(own, (8, 4))
        bits = np.full(len(own.groups()), 4, "int32")
        wanted = own(TOKENS, bits)
        weights = EffectiveWeights(own, turned=turned)(bits)
        with weights_in_force(own, weights, turned=turned):
            found = own(TOKENS, bits_beside(own, bits))
        self.assertAllClose(found, wanted, atol=2e-5)
        self.assertNotAllClose(own(TOKENS), wanted, atol=1e-3)

    def test_quantized_activations_need_the_bits_in_every_call(self):
        own = tiny.model(activations=8)
        bits = np.array(tiny.plans("4")[0].bits, "int32")
        self.assertIsNone(bits_beside(own, None))
        self.assertIsNone(bits_beside(tiny.model(), bits))
        beside = bits_beside(own, bits)
        self.assertAllEqual(beside, bits)
        wanted = own(TOKENS, bits)
        with weights_in_force(own, EffectiveWeights(own)(bits)):
            self.assertAllClose(own(TOKENS, beside), wanted, atol=2e-5)
            self.assertNotAllClose(own(TOKENS), wanted, atol=1e-3)
