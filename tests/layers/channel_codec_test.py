import dataclasses

import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.layers.coded_kv_test import decoder
from tests.layers.coded_kv_test import read
from tests.layers.coded_kv_test import shown
from tests.layers.layer_inputs import LLAMA
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.errors import UserError
from tfshrink.evaluation.kv_cost import kv_cost
from tfshrink.kv_spec import KVSpec
from tfshrink.layers.block_codecs import BlockCodecs
from tfshrink.layers.channel_codec import ChannelCodec
from tfshrink.layers.kv_cache import KVCache
from tfshrink.models.kv_codecs import check_spec
from tfshrink.models.kv_codecs import open_codecs
from tfshrink.models.sources import open_source
from tfshrink.plan import Plan

HEADS, WIDTH, BLOCK = 3, 16, 4
VARIANTS = [
    (method, select)
    for method in ("per_vector", "layer_wise")
    for select in ("topk", "lowpass")
]


def codec(kept, method="per_vector", select="topk", width=WIDTH):
    return ChannelCodec(width, kept, BLOCK, method=method, select=select)


def numbers(seed=0):
    """Keys of 8 tokens that bfloat16 holds, `(2, 8, H_kv, D)`."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(2, 2 * BLOCK, HEADS, WIDTH)).cumsum(-1)
    return x.astype("float32")


def coded(own, keys, values):
    parts = [
        own.encode(keys[:, i : i + BLOCK], values[:, i : i + BLOCK])
        for i in (0, BLOCK)
    ]
    return {
        name: ops.concatenate([part[name] for part in parts], axis=1)
        for name in parts[0]
    }


def decoded(own, x):
    return to_numpy(own.keys(coded(own, x, x), "float32"))


class ChannelCodecTest(TestCase):
    @parameterized.parameters(*VARIANTS)
    def test_all_coefficients_are_everything(self, method, select):
        x = numbers()
        found = decoded(codec(WIDTH, method, select), x)
        self.assertAllClose(found, x, rtol=0.02, atol=0.05)

    @parameterized.parameters(*VARIANTS)
    def test_what_is_lost_is_the_energy_that_is_left_out(self, method, select):
        x, kept = numbers(), 5
        own = codec(kept, method, select)
        z = np.square(x @ own.basis.T)
        if select == "lowpass":
            lost = z[..., kept:].sum()
        elif method == "per_vector":
            lost = np.sort(z, -1)[..., :-kept].sum()
        else:
            blocks = z.reshape(2, 2, BLOCK, HEADS, WIDTH).sum((2, 3))
            lost = np.sort(blocks, -1)[..., :-kept].sum()
        error = np.square(decoded(own, x) - x).sum()
        self.assertAllClose(error, lost, rtol=0.01)

    def test_a_choice_of_its_own_loses_least(self):
        x = numbers()
        errors = [
            np.square(decoded(codec(4, *variant), x) - x).sum()
            for variant in (
                ("per_vector", "topk"),
                ("layer_wise", "topk"),
                ("layer_wise", "lowpass"),
            )
        ]
        self.assertEqual(errors, sorted(errors))

    @parameterized.parameters(*VARIANTS)
    def test_values_are_mixed_as_if_they_were_decoded(self, method, select):
        own, x = codec(5, method, select), numbers(1)
        weights = np.random.default_rng(3).random((2, HEADS, 5, 2 * BLOCK))
        weights = weights.astype("float32")
        found = own.mix(ops.convert_to_tensor(weights), coded(own, x, x))
        expected = np.einsum("bhrs,bshd->bhrd", weights, decoded(own, x))
        self.assertAllClose(found, expected, rtol=1e-4, atol=1e-4)

    @parameterized.parameters(*VARIANTS)
    def test_steps_of_any_length_give_the_same(self, method, select):
        config = dataclasses.replace(LLAMA, head_dim=8)
        model = decoder(config)
        own = codec(5, method, select, config.head_dim)
        codecs = BlockCodecs([own] * 2, window=4, sinks=1, dtype="float32")
        store = KVCache(config, 12, codecs=codecs)
        one, _ = read(model, store, [1] * 12)
        many, _ = read(model, store, [4] * 3)
        for own, other in zip(shown(many), shown(one), strict=True):
            self.assertAllClose(own, other, rtol=1e-4, atol=1e-4)


class SpecTest(TestCase):
    @parameterized.product(variant=VARIANTS, rate=(2.0, 4.0))
    def test_the_whole_cache_has_the_rate(self, variant, rate):
        method, select = variant
        text = f"channel:{rate:g}x:method={method}:select={select}"
        spec = KVSpec.parse(text + ":block=16:window=16")
        self.assertEqual(KVSpec.parse(str(spec)), spec)
        source = open_source("tiny")
        codecs = open_codecs(spec, source, 512)
        plan = Plan.parse("16", layers=2, kv=spec.to_json())
        found = kv_cost(source.config, plan, 512, codecs)["kv_compression"]
        self.assertBetween(found, rate * 0.98, rate * 1.6)

    @parameterized.parameters(
        ("pca:4x:method=per_vector", "method must be left out but for channel"),
        ("channel:4x:method=per_head", "Did you mean|must be one of"),
        ("channel:4x:select=first", "must be one of"),
        ("channel", "must have a rate"),
    )
    def test_mistake_is_named(self, text, message):
        with self.assertRaisesRegex(UserError, message):
            KVSpec.parse(text)

    def test_a_rate_out_of_reach_names_the_nearest(self):
        with self.assertRaisesRegex(
            UserError, r"channel must be at most [\d.]+x"
        ):
            open_codecs(KVSpec.parse("channel:90x"), open_source("tiny"), 256)

    def test_heads_of_a_few_channels_are_refused(self):
        with self.assertRaisesRegex(
            UserError, "heads of 8 to 256 channels. Received: llama with 4"
        ):
            check_spec(KVSpec.parse("channel:2x:block=8"), LLAMA, 12)
