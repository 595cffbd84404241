import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.layers.kv_stubs import Lossless
from tests.layers.layer_inputs import GPT2
from tests.layers.layer_inputs import LLAMA
from tests.layers.layer_inputs import randomize
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink import backend
from tfshrink.layers.block_codecs import BlockCodecs
from tfshrink.layers.coded_kv import CodedKV
from tfshrink.layers.kv_cache import KVCache
from tfshrink.models.decoder import Decoder

TOKENS = np.random.default_rng(0).integers(0, 32, (3, 12)).astype("int32")
PAD = np.array([0, 2, 5], "int32")


def decoder(config):
    model = Decoder(config)
    model.build()
    return randomize(model)


def read(model, store, parts, pad=PAD):
    """Hidden states of `TOKENS`, in parts of so many tokens."""
    state, column, found = store.create(3), 0, []
    step = backend.Compiled(
        lambda tokens, state, column: model.hidden_cached(
            tokens, state, column, ops.convert_to_tensor(pad), store
        ),
        model.variables,
    )
    for count in parts:
        new = ops.convert_to_tensor(TOKENS[:, column : column + count])
        hidden, state = step(new, state, ops.convert_to_tensor(column))
        found.append(to_numpy(hidden))
        column += count
    return np.concatenate(found, axis=1), state


def shown(hidden):
    """Without what padding made."""
    return [row[shift:] for row, shift in zip(hidden, PAD, strict=True)]


class CodedKVTest(TestCase):
    @parameterized.parameters(
        (LLAMA, False, (2, 2, 1), "tokens"),
        (LLAMA, True, (2, 2, 1), "prefill"),
        (LLAMA, False, (4, 2, 0), "chunks"),
        (LLAMA, False, (2, 4, 2), "chunks"),
        (LLAMA, True, (2, 4, 2), "tokens"),
        (LLAMA, False, (4, 0, 1), "prefill"),
        (GPT2, False, (2, 2, 1), "chunks"),
        (GPT2, False, (4, 0, 1), "tokens"),
        (GPT2, True, (2, 4, 2), "prefill"),
    )
    def test_without_loss_it_is_the_exact_cache(
        self, config, rotated, shape, steps
    ):
        block, window, sinks = shape
        model = decoder(config)
        codecs = BlockCodecs(
            [Lossless(block, rotated)] * 2,
            window=window,
            sinks=sinks,
            dtype="float32",
        )
        store = KVCache(config, 12, codecs=codecs)
        chunk = store.chunk
        parts = {
            "tokens": [1] * 12,
            "chunks": [chunk] * (12 // chunk),
            "prefill": [chunk] * 2 + [1] * (12 - 2 * chunk),
        }[steps]
        expected, _ = read(model, KVCache(config, 12), [12])
        found, _ = read(model, store, parts)
        for own, other in zip(shown(found), shown(expected), strict=True):
            self.assertAllClose(own, other, rtol=1e-4, atol=1e-4)

    @parameterized.parameters((LLAMA, "tokens"), (LLAMA, "all"), (GPT2, "all"))
    def test_what_is_taken_off_the_keys_comes_back_as_scores(
        self, config, steps
    ):
        model = decoder(config)
        shape = config.kv_heads, config.head_dim
        centre = np.random.default_rng(1).normal(size=shape).astype("float32")
        codec = Lossless(2, rotated=True, centre=centre)
        codecs = BlockCodecs([codec] * 2, window=2, sinks=1, dtype="float32")
        store = KVCache(config, 12, codecs=codecs)
        parts = [1] * 12 if steps == "tokens" else [2] * 6
        expected, _ = read(model, KVCache(config, 12), [12])
        found, state = read(model, store, parts)
        for own, other in zip(shown(found), shown(expected), strict=True):
            self.assertAllClose(own, other, rtol=1e-4, atol=1e-4)
        plain = KVCache(
            config,
            12,
            codecs=BlockCodecs(
                [Lossless(2, rotated=True)] * 2,
                window=2,
                sinks=1,
                dtype="float32",
            ),
        )
        _, other = read(model, plain, parts)
        self.assertNotAllClose(
            state[0]["packed"]["key"], other[0]["packed"]["key"], atol=0.1
        )

    def test_one_block_without_a_codec(self):
        model = decoder(LLAMA)
        codecs = BlockCodecs([None, Lossless(2)], window=2, dtype="float32")
        store = KVCache(LLAMA, 12, codecs=codecs)
        expected, _ = read(model, KVCache(LLAMA, 12), [12])
        found, state = read(model, store, [2] * 6)
        for own, other in zip(shown(found), shown(expected), strict=True):
            self.assertAllClose(own, other, rtol=1e-4, atol=1e-4)
        again = KVCache.of_state(LLAMA, state, codecs)
        self.assertEqual(again.length, 12)

    def test_each_block_is_coded_once_as_it_leaves_the_window(self):
        store = CodedKV(
            LLAMA, 12, Lossless(2), window=3, sinks=1, dtype="float32"
        )
        pad = np.zeros(1, "int32")
        coded = []
        for column in range(12):
            step = store.begin(column, pad, 1)
            if to_numpy(step["leaves"]):
                coded.append((column, int(to_numpy(step["place"]))))
        self.assertEqual(coded, [(5, 0), (7, 1), (9, 2), (11, 3)])
        self.assertEqual(store.coded, 4)

    def test_a_cache_within_the_window_holds_no_codes(self):
        store = CodedKV(
            LLAMA, 6, Lossless(4), window=4, sinks=1, dtype="bfloat16"
        )
        self.assertNotIn("packed", store.create(1))

    def test_an_exact_part_of_bytes_is_close(self):
        model = decoder(LLAMA)
        expected, _ = read(model, KVCache(LLAMA, 12), [12])
        for dtype, close in (("bfloat16", 0.1), ("int8", 0.1)):
            codecs = BlockCodecs([Lossless(4)] * 2, window=4, dtype=dtype)
            found, state = read(
                model, KVCache(LLAMA, 12, codecs=codecs), [4] * 3
            )
            self.assertAllClose(found[0], expected[0], rtol=close, atol=close)
            self.assertNotAllClose(found[0], expected[0], atol=1e-5)
        self.assertEqual(
            {k: tuple(v.shape) for k, v in state[0]["keys"].items()},
            {"codes": (3, 2, 12, 4), "scales": (3, 2, 12, 1)},
        )
