from unittest import mock

import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.layers.kv_stubs import Lossless
from tests.layers.kv_stubs import statistics
from tests.layers.layer_inputs import LLAMA
from tests.models.effective_weights_test import model
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tests.training import tiny
from tfshrink import backend
from tfshrink.kv_spec import KVSpec
from tfshrink.layers.block_codecs import BlockCodecs
from tfshrink.layers.coded_kv import CodedKV
from tfshrink.layers.int_codec import IntCodec
from tfshrink.layers.watched_kv import WatchedKV
from tfshrink.models import kv_codecs
from tfshrink.models.block_forward import BlockForward
from tfshrink.models.coded_blocks import CodedBlocks
from tfshrink.models.sources import open_source
from tfshrink.models.streaming import streamed_hidden
from tfshrink.structure import plan_tensor

TOKENS = np.random.default_rng(0).integers(3, 500, (2, 21)).astype("int32")
SHAPE = {"window": 4, "sinks": 1}


class CoarseKeys(Lossless):
    """Rounds keys; values come as they are."""

    def keys(self, packed, dtype):
        return ops.round(super().keys(packed, dtype))


def codecs_of(*codecs, **changes):
    return BlockCodecs(codecs, **{**SHAPE, "dtype": "float32", **changes})


def hidden(coded, tokens, bits):
    """Hidden states of a text, block by block."""
    forward = coded.forward
    x = forward.embed(tokens, bits)
    for index in range(len(forward.model.blocks)):
        _, maps = forward.block_and_maps(index, x, bits)
        x, _ = coded.block_and_cosine(index, x, maps, bits)
    return to_numpy(forward.finish(x, bits))


class CodedBlocksTest(TestCase):
    @parameterized.parameters(
        ("tiny", "float32", False),
        ("tiny", "int8", True),
        ("tiny-gpt2", "float32", True),
    )
    def test_states_are_those_of_the_text_streamed(self, name, exact, first):
        own, codec = model(name), IntCodec(2, 4)
        codecs = codecs_of(codec if first else None, codec, dtype=exact)
        bits = plan_tensor(own.config, tiny.plans("4:heads=.5")[0])
        coded = CodedBlocks(BlockForward(own, TOKENS.shape[1]), codecs)
        streamed = backend.Compiled(
            lambda tokens: streamed_hidden(own, tokens, codecs, bits),
            own.variables,
        )
        found = hidden(coded, TOKENS, bits)
        self.assertAllClose(found, streamed(TOKENS), atol=1e-3)
        self.assertNotAllClose(found, own.hidden(TOKENS, bits), atol=1e-2)
        self.assertEqual(coded.traces, 1)

    @parameterized.parameters("tiny", "tiny-gpt2")
    def test_without_loss_a_block_is_what_it_was(self, name):
        own = model(name)
        forward = BlockForward(own, TOKENS.shape[1])
        coded = CodedBlocks(forward, codecs_of(Lossless(4), Lossless(4)))
        bits = plan_tensor(own.config, tiny.plans("2")[0])
        x = forward.embed(TOKENS)
        for index in range(2):
            _, maps = forward.block_and_maps(index, x)
            wanted = forward.block_and_cosine(index, x, maps, bits)
            found = coded.block_and_cosine(index, x, maps, bits)
            self.assertAllClose(found[0], wanted[0], atol=1e-4)
            self.assertAllClose(found[1], wanted[1], atol=1e-5)
            self.assertLess(to_numpy(found[1]).min(), 0.999)
            x = wanted[0]

    def test_codecs_of_their_own_are_compiled_one_by_one(self):
        own = model("tiny")
        forward = BlockForward(own, TOKENS.shape[1])
        coded = CodedBlocks(forward, codecs_of(IntCodec(4, 4), IntCodec(2, 4)))
        for name in ("8", "2"):
            bits = plan_tensor(own.config, tiny.plans(name)[0])
            hidden(coded, TOKENS, bits)
        self.assertEqual(coded.traces, 2)

    def test_a_prompt_alone_is_as_one_of_two(self):
        own = model("tiny")
        config = own.config
        spec = KVSpec.parse("pca:bits=4:block=8:window=5:rotated=true")
        numbers = config.kv_heads * config.head_dim
        known = statistics(config.layers, numbers, config.kv_heads)
        with mock.patch.object(kv_codecs, "load_statistics", lambda _: known):
            codecs = kv_codecs.open_codecs(spec, open_source("tiny"), 64)
        forward = BlockForward(own, TOKENS.shape[1])
        coded = CodedBlocks(forward, codecs)
        both = forward.embed(TOKENS)
        _, maps = forward.block_and_maps(0, both)
        wanted = coded.block_and_cosine(0, both, maps)
        found = coded.block_and_cosine(0, both[:1], maps[:1])
        for own, other in zip(found, wanted, strict=True):
            self.assertAllClose(own[0], other[0], atol=1e-4)


class WatchedKVTest(TestCase):
    @parameterized.parameters(([0, 0, 0], 4), ([0, 2, 5], 4), ([3, 0, 1], 1))
    def test_weights_are_those_that_values_are_mixed_with(self, pad, chunk):
        random = np.random.default_rng(0)
        length, width = 16, LLAMA.head_dim
        pad = np.array(pad, "int32")
        query, key, value = (
            random.normal(size=(3, length, heads, width)).astype("float32")
            for heads in (LLAMA.heads, LLAMA.kv_heads, LLAMA.kv_heads)
        )
        seen, outputs = [], []
        cache = WatchedKV(
            CodedKV(LLAMA, length, CoarseKeys(4), dtype="float32", **SHAPE),
            length,
            lambda weights: seen.append(to_numpy(weights)),
        )
        self.assertEqual(cache.chunk, 4)
        state = cache.create(3)
        for start in range(0, length, chunk):
            part = slice(start, start + chunk)
            step = cache.begin(start, ops.convert_to_tensor(pad), chunk)
            state = cache.append(state, key[:, part], value[:, part], step)
            outputs.append(to_numpy(cache.attend(query[:, part], state, step)))
        weights = np.concatenate(seen, axis=1)  # (B, T, H, S)
        shared = np.repeat(value, LLAMA.heads // LLAMA.kv_heads, axis=2)
        wanted = np.einsum("bths,bshd->bthd", weights, shared)
        places = np.arange(length)
        real = places >= pad[:, None]  # (B, T)
        found = np.concatenate(outputs, axis=1)
        self.assertAllClose(found[real], wanted[real], atol=1e-5)
        self.assertAllClose(
            weights.sum(-1)[real], np.ones((real.sum(), LLAMA.heads))
        )
        seen_by = (places <= places[:, None]) & real[:, None]  # (B, T, S)
        unseen = np.where(seen_by[:, :, None], 0.0, weights)[real]
        self.assertEqual(unseen.max(), 0.0)
