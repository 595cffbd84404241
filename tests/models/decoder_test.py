import dataclasses
import json

import numpy as np
from absl.testing import parameterized
from keras import ops

from tests import oracles
from tests.layers.layer_inputs import GPT2
from tests.layers.layer_inputs import LLAMA
from tests.layers.layer_inputs import precision
from tests.layers.layer_inputs import randomize
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink import backend
from tfshrink.errors import UserError
from tfshrink.layer_groups import group_names
from tfshrink.layers.kv_cache import KVCache
from tfshrink.models.decoder import Decoder
from tfshrink.models.load import fit_scales
from tfshrink.models.load import weight_variables
from tfshrink.ops.head_loss import head_loss

TOKENS = np.random.default_rng(0).integers(0, 32, (3, 9)).astype("int32")
WIDTHS = (2, 3, 4, 5, 6, 7, 8, 16, 32)
# Kernels of one shape compile once.
FAMILIES = {
    "llama": dataclasses.replace(LLAMA, hidden=16),
    "gpt2": dataclasses.replace(GPT2, hidden=16),
}
SHALLOW = {
    name: dataclasses.replace(config, layers=1)
    for name, config in FAMILIES.items()
}


def built(config, structure=None, **kwargs):
    model = Decoder(config, structure, **kwargs)
    model.build()
    randomize(model)
    if structure is not None:
        fit_scales(model, method="rtn")
    return model


def random_plans(model, count, seed=0):
    random = np.random.default_rng(seed)
    shape = (count, len(model.groups()))
    return random.choice(WIDTHS, shape).astype("int32")


def merged(model, bits):
    """A plain decoder whose weights are what `bits` makes of the model's."""
    plain = Decoder(model.config)
    plain.build()
    for to, value in zip(plain.variables, weight_variables(model), strict=True):
        to.assign(to_numpy(value))
    pairs = zip(plain.groups().values(), model.groups().values(), strict=True)
    for (members, own), width in zip(pairs, bits.tolist(), strict=True):
        for member, layer in zip(members, own, strict=True):
            axis = 1 if hasattr(layer, "table") else 0
            to = member.table if axis else member.kernel
            scale = to_numpy(layer.quantizer.scale(width))
            value = oracles.quantize_weight(to_numpy(to), scale, width, axis)
            if getattr(layer, "adapters", None) is not None:
                value = value + to_numpy(layer.adapters.delta(width))
            to.assign(value.astype("float32"))
    return plain


def training_step(model, variables):
    """Cross-entropy and distillation through `head_loss`, compiled."""

    def step(tokens, bits, rate):
        teacher = ops.stop_gradient(model.hidden(tokens[:, :-1]))

        def loss():
            hidden = model.hidden(tokens[:, :-1], bits)
            width = hidden.shape[-1]
            return head_loss(
                ops.reshape(hidden, (-1, width)),
                model.head_kernel(bits),
                ops.reshape(tokens[:, 1:], (-1,)),
                ops.ones((tokens.shape[0] * (tokens.shape[1] - 1),)),
                cross_entropy=0.5,
                teachers=[
                    (ops.reshape(teacher, (-1, width)), model.head_kernel())
                ],
            )

        value, _, gradients = backend.value_and_gradients(loss, variables)
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign(variable - rate * gradient)
        return value, gradients

    return backend.Compiled(step, model.variables)


class DecoderTest(TestCase):
    @parameterized.parameters("llama", "gpt2")
    def test_one_forward_serves_fifty_plans(self, family):
        model = built(FAMILIES[family], precision())
        forward = backend.Compiled(model, model.variables)
        plans = random_plans(model, 50)
        logits = [to_numpy(forward(TOKENS, bits)) for bits in plans]
        self.assertEqual(forward.traces, 1)
        self.assertLen({x.tobytes() for x in logits}, 50)
        for bits, found in zip(plans[:3], logits, strict=False):
            self.assertAllClose(
                found, merged(model, bits)(TOKENS), rtol=1e-3, atol=1e-3
            )

    @parameterized.parameters("none", "codes")
    def test_one_training_step_serves_fifty_plans(self, bank):
        model = built(SHALLOW["llama"], precision(bank=bank))
        variables = [v for v in model.variables if "/adapters/" in v.path] + [
            v for v in model.variables if v.path.endswith("_scales")
        ]
        step = training_step(model, variables)
        before = [to_numpy(v) for v in variables]
        plans = random_plans(model, 50, seed=1)
        losses = [float(step(TOKENS, bits, 0.01)[0]) for bits in plans]
        self.assertEqual(step.traces, 1)
        self.assertTrue(np.isfinite(losses).all())
        self.assertLen(set(losses), 50)
        moved = [
            np.abs(to_numpy(v) - b).max() > 0
            for v, b in zip(variables, before, strict=True)
        ]
        self.assertTrue(all(moved))

    def test_training_lowers_the_loss_of_a_plan(self):
        model = built(SHALLOW["llama"], precision())
        variables = [v for v in model.variables if "/adapters/" in v.path]
        step = training_step(model, variables)
        bits = np.full(5, 2, "int32")
        losses = [float(step(TOKENS, bits, 0.1)[0]) for _ in range(20)]
        self.assertLess(losses[-1], 0.9 * losses[0])

    @parameterized.parameters(("llama", 16), ("gpt2", 32))
    def test_full_precision_plan_is_full_precision(self, family, bits):
        model = built(FAMILIES[family], precision(activations=8))
        plan = np.full(len(model.groups()), bits, "int32")
        self.assertAllEqual(model(TOKENS, plan), model(TOKENS))
        plain = merged(model, plan)
        self.assertAllEqual(plain(TOKENS), model(TOKENS))

    @parameterized.parameters("llama", "gpt2")
    def test_recomputing_changes_neither_loss_nor_gradients(self, family):
        results = []
        bits = random_plans_of(SHALLOW[family])
        for remat in (False, True):
            model = built(SHALLOW[family], precision(), remat=remat)
            step = training_step(model, model.trainable_variables)
            results.append(step(TOKENS, bits, 0.0))
        (loss, gradients), (again, same) = results
        self.assertAllClose(again, loss)
        for ours, theirs in zip(same, gradients, strict=True):
            self.assertAllClose(ours, theirs, rtol=1e-4, atol=1e-6)

    @parameterized.parameters("llama", "gpt2")
    def test_a_token_sees_no_later_one(self, family):
        model = built(FAMILIES[family])
        changed = TOKENS.copy()
        changed[:, 6:] = (changed[:, 6:] + 1) % 32
        forward = backend.Compiled(model, model.variables)
        before, after = to_numpy(forward(TOKENS)), to_numpy(forward(changed))
        self.assertAllClose(after[:, :6], before[:, :6])
        self.assertNotAllClose(after[:, 6:], before[:, 6:], atol=1e-3)

    @parameterized.parameters(("llama", None), ("gpt2", precision()))
    def test_cache_with_padding_equals_the_whole_sequence(
        self, family, structure
    ):
        model = built(FAMILIES[family], structure)
        bits = structure and random_plans(model, 1)[0]
        pad = np.array([0, 2, 5], "int32")
        padded = np.zeros_like(TOKENS)
        for row, shift in enumerate(pad):
            padded[row, shift:] = TOKENS[row, : 9 - shift]
        store = KVCache(model.config, 12)
        states, parts = store.create(3), []
        for start, stop in ((0, 6), (6, 7), (7, 9)):
            hidden, states = model.hidden_cached(
                ops.convert_to_tensor(padded[:, start:stop]),
                states,
                start,
                ops.convert_to_tensor(pad),
                store,
                bits,
            )
            parts.append(to_numpy(hidden))
        found = np.concatenate(parts, axis=1)
        expected = to_numpy(model.hidden(ops.convert_to_tensor(TOKENS), bits))
        for row, shift in enumerate(pad):
            self.assertAllClose(
                found[row, shift:],
                expected[row, : 9 - shift],
                rtol=1e-4,
                atol=1e-4,
            )

    @parameterized.parameters("llama", "gpt2")
    def test_groups_are_those_of_the_plan(self, family):
        config = FAMILIES[family]
        model = built(config, precision())
        names = group_names(config.layers, config.tied)
        self.assertEqual(tuple(model.groups()), names)

    @parameterized.parameters("llama", "gpt2")
    def test_head_takes_the_bits_of_its_group(self, family):
        model = built(FAMILIES[family], precision())
        bits = np.full(len(model.groups()), 16, "int32")
        plain = to_numpy(model.head_kernel())
        self.assertAllEqual(model.head_kernel(bits), plain)
        bits[-1] = 3
        last = [*model.groups().values()][-1][0]
        axis = 1 if model.config.tied else 0
        weight = plain if axis else plain.T
        expected = oracles.quantize_weight(
            weight, to_numpy(last.quantizer.scale(3)), 3, axis
        )
        self.assertAllClose(
            model.head_kernel(bits), expected if axis else expected.T
        )

    def test_bfloat16_is_near_float32(self):
        outputs = []
        for policy in ("float32", "mixed_bfloat16"):
            model = built(FAMILIES["llama"], precision(), dtype=policy)
            bits = random_plans(model, 1)[0]
            logits = backend.Compiled(model, model.variables)(TOKENS, bits)
            self.assertIn("float32", str(logits.dtype))
            outputs.append(to_numpy(logits))
            self.assertEqual({v.dtype for v in model.variables}, {"float32"})
        spread = np.abs(outputs[0]).max()
        self.assertLess(np.abs(outputs[1] - outputs[0]).mean(), 0.02 * spread)

    def test_config_reads_back_through_json(self):
        scaling = {
            "type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_context": 16,
        }
        config = dataclasses.replace(LLAMA, rope_scaling=scaling, eos=(2, 3))
        model = Decoder(config, precision(bank="codes"), remat=True)
        values = json.loads(json.dumps(model.get_config(), default=str))
        values["dtype"] = "float32"
        twin = Decoder.from_config(values)
        self.assertEqual(twin.config, config)
        self.assertEqual(twin.precision, model.precision)
        self.assertTrue(twin.remat)

    def test_too_long_a_sequence_is_named(self):
        model = built(LLAMA)
        with self.assertRaisesRegex(UserError, "at most 12 tokens.*13"):
            model.hidden(np.zeros((1, 13), "int32"))

    @parameterized.parameters(8, 10)
    def test_bits_of_another_model_are_named(self, count):
        model = built(FAMILIES["llama"], precision())
        with self.assertRaisesRegex(UserError, f"9 layer groups.*{count}"):
            model.hidden(ops.convert_to_tensor(TOKENS), [8] * count)

    def test_group_that_does_not_divide_is_named_with_its_layer(self):
        with self.assertRaisesRegex(
            UserError, "divide the 16 inputs of .*query.*group=12|embedding"
        ):
            Decoder(LLAMA, precision(group=12)).build()


def random_plans_of(config):
    count = len(group_names(config.layers, config.tied))
    bits = np.random.default_rng(5).choice((2, 4, 8), count)
    return ops.convert_to_tensor(bits.astype("int32"))
