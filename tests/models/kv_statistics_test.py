from unittest import mock

import numpy as np
from absl.testing import parameterized
from scipy.linalg import block_diag

from tests.layers.kv_stubs import statistics
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.errors import UserError
from tfshrink.evaluation.kv_cost import kv_cost
from tfshrink.kv_spec import KVSpec
from tfshrink.models import kv_codecs
from tfshrink.models import kv_statistics as statistics_lib
from tfshrink.models.kv_codecs import open_codecs
from tfshrink.models.kv_codecs import pca_table
from tfshrink.models.kv_codecs import vector_bytes
from tfshrink.models.kv_statistics import kv_statistics
from tfshrink.models.load import load_model
from tfshrink.models.sources import open_source
from tfshrink.ops import rotary
from tfshrink.plan import Plan

TOKENS = np.random.default_rng(0).integers(3, 512, (3, 48)).astype("int32")


def keys_of_first_block(model):
    """Keys before RoPE of `TOKENS`, `(N, T, F)`, in NumPy."""
    block = model.blocks[0]
    x = to_numpy(model.embedding.table)[TOKENS]
    scale = to_numpy(block.attention_norm.scale)
    power = np.square(x).mean(-1, keepdims=True)
    x = x / np.sqrt(power + model.config.norm_epsilon) * scale
    return x @ to_numpy(block.attention.key.kernel)


def forward(found, layer, kind):
    """What numbers less their mean are multiplied with."""
    metric = block_diag(*found.metric[layer, kind])
    rows = found.backward[layer, kind]
    return metric @ rows.T / found.variances[layer, kind]


class KVStatisticsTest(TestCase):
    def test_axes_are_those_of_the_keys_and_values(self):
        model = load_model("tiny")
        keys = keys_of_first_block(model)
        with mock.patch.object(
            statistics_lib, "SHARE", 0.0
        ):  # tokens count alike
            found = kv_statistics(model, TOKENS)
        inside = keys[:, 4:].reshape(-1, keys.shape[-1])  # without sinks
        self.assertAllClose(found.mean[0, 0], inside.mean(0), atol=1e-4)
        z = (inside - found.mean[0, 0]) @ forward(found, 0, 0)
        self.assertAllClose(
            z.T @ z / len(z), np.eye(z.shape[1]), rtol=1e-3, atol=1e-3
        )
        for layer in range(2):
            for kind in range(3):
                self.assertAllClose(
                    forward(found, layer, kind) @ found.backward[layer, kind],
                    np.eye(z.shape[1]),
                    atol=1e-3,
                )
        turns = rotary.tables(
            np.arange(48)[None],
            rotary.frequencies(model.config.head_dim, model.config.rope_theta),
        )
        shape = -1, 48, model.config.kv_heads, model.config.head_dim
        turned = to_numpy(
            rotary.rotate((keys - found.mean[0, 0]).reshape(shape), *turns)
        )
        turned = turned[:, 4:].reshape(-1, keys.shape[-1])
        self.assertAllEqual(found.mean[:, 2], np.zeros_like(found.mean[:, 2]))
        z = turned @ forward(found, 0, 2)
        self.assertAllClose(
            z.T @ z / len(z), np.eye(z.shape[1]), rtol=1e-3, atol=1e-3
        )
        self.assertAllEqual(np.diff(found.left, axis=2) <= 1e-9, True)
        self.assertAllEqual(np.diff(found.left[:, :, 0], axis=-1) <= 1e-6, True)

    def test_a_token_that_draws_attention_counts_more(self):
        model = load_model("tiny")
        maps = np.full((1, 4, 48, 48), 1e-6)
        maps[..., 9] = 1.0  # everyone looks at token 9
        found = statistics_lib._attention(maps)
        self.assertAllEqual(found, np.zeros(48))  # nobody is that far
        with mock.patch.object(statistics_lib, "FAR", 8):
            found = statistics_lib._attention(maps)
            self.assertGreater(found[9], 100 * found[10])
            weighted = kv_statistics(model, TOKENS)
        with mock.patch.object(statistics_lib, "SHARE", 0.0):
            plain = kv_statistics(model, TOKENS)
        self.assertNotAllClose(weighted.mean, plain.mean, atol=1e-4)


class TableTest(TestCase):
    def test_a_budget_is_kept_and_used(self):
        own, errors = statistics(2, 64, 4), []
        for budget in (2, 7, 16, 40, 64):
            table = pca_table(own, 1, 0, budget)
            self.assertEqual(table.token_bytes, budget + 1)
            for bits, count in zip(table.widths, table.counts, strict=True):
                self.assertEqual(count * bits % 8, 0)
            self.assertLen(table.steps, table.kept)
            widths = np.repeat(table.widths, table.counts)
            level = np.searchsorted([0, 1, 2, 4, 8], widths)
            left = own.left[1, 0]
            kept = sum(left[k, i] for i, k in enumerate(level))
            errors.append(kept + left[0, table.kept :].sum())
        self.assertEqual(errors, sorted(errors, reverse=True))


class SpecTest(TestCase):
    @parameterized.product(
        codec=("pca", "dct"),
        rate=(2.0, 4.0, 6.0),
        layers=("all", "even"),
        rotated=(False, True),
    )
    def test_the_whole_cache_has_the_rate(self, codec, rate, layers, rotated):
        options = {"codec": codec, "rotated": rotated}
        options |= {"block": 16, "window": 16}
        spec = KVSpec(rate=rate, **options)
        if layers == "even":
            rate = 1.3 + rate / 20  # half of it stays as it is
            spec = KVSpec(rate=rate, layers=layers, **options)
        source = open_source("tiny")
        heads, width = source.config.kv_heads, source.config.head_dim
        own = statistics(2, heads * width, heads)
        with mock.patch.object(kv_codecs, "load_statistics", lambda s: own):
            codecs = open_codecs(spec, source, 512)
        plan = Plan.parse("16", layers=2, kv=spec.to_json())
        found = kv_cost(source.config, plan, 512, codecs)["kv_compression"]
        self.assertBetween(found, rate * 0.98, rate * 1.25)
        self.assertEqual(codecs.codecs[1] is None, layers == "even")

    def test_a_byte_holds_two_tokens_after_rope(self):
        spec = KVSpec.parse("pca:2x:rotated=true:block=17")
        self.assertIn(":rotated=true", str(spec))
        with self.assertRaisesRegex(UserError, "`kv` block.*even.*: 17"):
            open_codecs(spec, open_source("tiny"), 512)

    def test_bits_are_of_a_coded_number(self):
        config = open_source("tiny").config
        numbers = config.kv_heads * config.head_dim
        spec = KVSpec(codec="pca", bits=3)
        self.assertEqual(vector_bytes(spec, config, 512), 3 * numbers / 8)

    @parameterized.parameters(
        ("pca:4x:layers=even", {"rate": 4.0, "layers": "even"}),
        ("pca:bits=2.5:block=32", {"bits": 2.5, "block": 32}),
        ("int4:window=0:sinks=0:exact=8", {"window": 0, "sinks": 0}),
        ("dct:6x:rotated=true", {"rate": 6.0, "rotated": True}),
        ("int2:layers=0,3", {"layers": "0,3"}),
    )
    def test_text_comes_back(self, text, fields):
        spec = KVSpec.parse(text)
        for name, value in fields.items():
            self.assertEqual(getattr(spec, name), value)
        self.assertEqual(KVSpec.parse(str(spec)), spec)
        self.assertEqual(KVSpec.from_json(spec.to_json()), spec)

    @parameterized.parameters(
        ("", "`kv` must be one of"),
        ("pcb:4x", "Did you mean `pca`"),
        ("pca", "`kv` pca must have a rate"),
        ("pca:4x:bits=3", "`kv` pca must have a rate.*4.0, 3.0"),
        ("int4:4x", "`kv` int4 must have no rate"),
        ("pca:-4x", "Received: '-4x'"),
        ("pca:0x", "must be positive"),
        ("pca:4x:block=2", "`kv` block must be an integer, at least 8"),
        ("pca:4x:window=-1", "`kv` window must be an integer"),
        ("pca:4x:exact=4", "`kv` exact must be 8 or 16"),
        ("pca:4x:layers=first", "`kv` layers must be one of"),
        ("pca:4x:blocks=3", "Received: 'blocks=3'"),
    )
    def test_mistake_is_named(self, text, message):
        with self.assertRaisesRegex(UserError, message):
            KVSpec.parse(text)

    @parameterized.parameters(
        ([], "must be a dict"),
        ({}, "must have a codec"),
        ({"codec": "pca", "rates": 4}, "must have a codec and may have"),
    )
    def test_mistake_of_a_file_is_named(self, values, message):
        with self.assertRaisesRegex(UserError, message):
            KVSpec.from_json(values)
