import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.layers.coded_kv_test import decoder
from tests.layers.coded_kv_test import read
from tests.layers.coded_kv_test import shown
from tests.layers.kv_stubs import statistics
from tests.layers.layer_inputs import GPT2
from tests.layers.layer_inputs import LLAMA
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.layers.block_codecs import BlockCodecs
from tfshrink.layers.direct_codec import DirectCodec
from tfshrink.layers.direct_codec import unpacked
from tfshrink.layers.kv_cache import KVCache
from tfshrink.models.kv_codecs import direct_table

HEADS, WIDTH = 4, 8
NUMBERS = HEADS * WIDTH


def codec(budget, block=4, heads=HEADS, numbers=NUMBERS, layer=0):
    found = statistics(2, numbers, heads)
    tables = [direct_table(found, layer, kind, budget) for kind in (2, 1)]
    centre = found.mean[layer, 0].reshape(heads, -1)
    return DirectCodec(*tables, heads, block, centre)


def samples(kind, count, seed=1):
    """Vectors as the statistics say, `(1, count, H_kv, D)`."""
    found = statistics(2, NUMBERS, HEADS)
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, NUMBERS)) @ found.backward[0, kind]
    x = x + found.mean[0, kind]
    return x.reshape(1, count, HEADS, WIDTH).astype("float32")


def coded(own, keys, values):
    """What the codec keeps of 8 tokens, in two blocks."""
    parts = [
        own.encode(keys[:, i : i + 4], values[:, i : i + 4]) for i in (0, 4)
    ]
    return {
        name: ops.concatenate([part[name] for part in parts], axis=1)
        for name in parts[0]
    }


class DirectCodecTest(TestCase):
    @parameterized.parameters((32, 0.0005), (16, 0.03), (8, 0.3))
    def test_fewer_bytes_leave_more_error(self, budget, most):
        own = codec(budget)
        keys = samples(2, 4)
        packed = own.encode(keys, keys)
        self.assertEqual(
            tuple(packed["key_codes"].shape), (1, 1, 2, 2 * budget)
        )
        found = to_numpy(own.keys(packed, "float32"))
        mean = own.key_table.mean.reshape(HEADS, WIDTH)
        error = np.square(found - keys).sum() / np.square(keys - mean).sum()
        self.assertBetween(error, most / 50, most)

    @parameterized.parameters("float32", "bfloat16")
    def test_halves_of_bytes_are_tokens(self, dtype):
        codes = np.array([[[[0x10, 0xF8]], [[0x7F, 0x00]]]], "uint8")
        found = unpacked(ops.convert_to_tensor(codes), dtype)
        self.assertIn(dtype, str(found.dtype))
        self.assertAllEqual(
            to_numpy(ops.cast(found, "float32"))[0],
            [[-8, 0], [-7, 7], [7, -8], [-1, -8]],
        )

    def test_scores_are_those_of_decoded_keys(self):
        own = codec(12)
        packed = coded(own, samples(2, 8), samples(1, 8))
        decoded = to_numpy(own.keys(packed, "float32"))
        query = np.random.default_rng(3).normal(size=(1, HEADS, 5, WIDTH))
        query = query.astype("float32")
        found = own.scores(ops.convert_to_tensor(query), packed)
        expected = np.einsum("bhrd,bshd->bhrs", query, decoded)
        self.assertAllClose(found, expected, rtol=1e-4, atol=1e-4)

    def test_values_are_mixed_as_if_they_were_decoded(self):
        own = codec(12)
        packed = coded(own, samples(2, 8), samples(1, 8))
        as_keys = codec(12)
        as_keys.tables = {
            f"key_{part}": own.tables[f"value_{part}"]
            for part in ("basis", "constant")
        }
        renamed = {
            f"key_{part}": packed[f"value_{part}"] for part in ("codes", "gain")
        }
        decoded = to_numpy(as_keys.keys(renamed, "float32"))
        decoded = decoded + own.tables["mean"]
        weights = np.random.default_rng(3).random((1, HEADS, 5, 8))
        weights = weights.astype("float32")
        found = own.mix(ops.convert_to_tensor(weights), packed)
        expected = np.einsum("bhrs,bshd->bhrd", weights, decoded)
        self.assertAllClose(found, expected, rtol=1e-4, atol=1e-4)

    def test_all_blocks_of_a_model_have_one_shape(self):
        for budget in (3, 12, 32, 40):
            own = [codec(budget, layer=layer).signature for layer in range(2)]
            self.assertEqual(*own)

    @parameterized.parameters((LLAMA, 2), (GPT2, 2))
    def test_steps_of_any_length_give_the_same(self, config, heads):
        model = decoder(config)
        numbers = heads * config.head_dim
        codecs = BlockCodecs(
            [codec(4, 4, heads, numbers, layer) for layer in range(2)],
            window=4,
            sinks=1,
            dtype="float32",
        )
        store = KVCache(config, 12, codecs=codecs)
        one, _ = read(model, store, [1] * 12)
        many, _ = read(model, store, [4] * 3)
        exact, _ = read(model, KVCache(config, 12), [12])
        for own, other in zip(shown(many), shown(one), strict=True):
            self.assertAllClose(own, other, rtol=1e-4, atol=1e-4)
        self.assertNotAllClose(many[0, 9:], exact[0, 9:], atol=1e-3)
        self.assertAllClose(many[0, :8], exact[0, :8], rtol=1e-4, atol=1e-4)

    def test_one_sequence_goes_through_one_function(self):
        model = decoder(LLAMA)
        codecs = BlockCodecs(
            [codec(4, 4, 2, 8, layer) for layer in range(2)],
            window=4,
            sinks=1,
            dtype="float32",
        )
        store = KVCache(LLAMA, 12, codecs=codecs)
        tokens = np.array([[3, 9, 4, 4, 17, 30, 2, 8, 1, 5, 6, 7]], "int32")
        pad = ops.convert_to_tensor(np.array([1], "int32"))
        found = []
        for size in (1, 4):
            state, parts = store.create(1), []
            for start in range(0, 12, size):
                hidden, state = model.hidden_cached(
                    ops.convert_to_tensor(tokens[:, start : start + size]),
                    state,
                    ops.convert_to_tensor(start),
                    pad,
                    store,
                )
                parts.append(to_numpy(hidden))
            found.append(np.concatenate(parts, axis=1)[:, 1:])
        self.assertAllClose(*found, rtol=1e-4, atol=1e-4)
