import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.layers.coded_kv_test import decoder
from tests.layers.coded_kv_test import read
from tests.layers.coded_kv_test import shown
from tests.layers.kv_stubs import statistics
from tests.layers.layer_inputs import LLAMA
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.layers.block_codecs import BlockCodecs
from tfshrink.layers.kv_cache import KVCache
from tfshrink.layers.pca_codec import PCACodec
from tfshrink.models.kv_codecs import pca_table

HEADS, WIDTH = 4, 8
NUMBERS = HEADS * WIDTH


def codec(budget, block=4, heads=HEADS, numbers=NUMBERS):
    found = statistics(2, numbers, heads)
    tables = [pca_table(found, 0, kind, budget) for kind in range(2)]
    return PCACodec(*tables, heads, block)


def samples(kind, count, seed=1):
    """Vectors as the statistics say, `(1, count, H_kv, D)`."""
    found = statistics(2, NUMBERS, HEADS)
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, NUMBERS)) @ found.backward[0, kind]
    x = x + found.mean[0, kind]
    return x.reshape(1, count, HEADS, WIDTH).astype("float32")


class PCACodecTest(TestCase):
    @parameterized.parameters((32, 0.0002), (16, 0.02), (8, 0.15), (4, 0.4))
    def test_fewer_bytes_leave_more_error(self, budget, most):
        own = codec(budget)
        self.assertEqual(own.key_table.token_bytes, budget + 1)
        keys = samples(0, 4)
        packed = own.encode(ops.convert_to_tensor(keys), keys)
        bytes_ = sum(
            x.shape[-1] for name, x in packed.items() if name[:3] == "key"
        )
        self.assertEqual(bytes_, budget + 1)
        found = to_numpy(own.keys(packed, "float32"))
        mean = own.key_table.mean.reshape(HEADS, WIDTH)
        error = np.square(found - keys).sum() / np.square(keys - mean).sum()
        self.assertBetween(error, most / 50, most)

    def test_a_long_vector_is_as_exact_as_a_short_one(self):
        own = codec(32)
        keys = samples(0, 4)
        mean = own.key_table.mean.reshape(HEADS, WIDTH)
        for size in (0.01, 1.0, 100.0):
            scaled = mean + (keys - mean) * size
            packed = own.encode(scaled, scaled)
            found = to_numpy(own.keys(packed, "float32"))
            self.assertAllClose(
                (found - mean) / size, keys - mean, rtol=0.1, atol=0.1
            )

    def test_values_are_mixed_as_if_they_were_decoded(self):
        own = codec(12)
        values = samples(1, 8)
        parts = [own.encode(values, values[:, i : i + 4]) for i in (0, 4)]
        packed = {
            name: ops.concatenate([part[name] for part in parts], axis=1)
            for name in parts[0]
        }
        as_keys = PCACodec(own.value_table, own.value_table, HEADS, 4)
        renamed = {
            f"key_{name[6:]}": x
            for name, x in packed.items()
            if name.startswith("value")
        }
        decoded = to_numpy(as_keys.keys(renamed, "float32"))
        weights = np.random.default_rng(3).random((1, HEADS, 5, 8))
        weights = weights.astype("float32")
        found = own.mix(ops.convert_to_tensor(weights), packed)
        expected = np.einsum("bhrs,bshd->bhrd", weights, decoded)
        self.assertAllClose(found, expected, rtol=1e-4, atol=1e-4)

    def test_nothing_is_not_a_number(self):
        own = codec(6)
        zeros = np.zeros((1, 4, HEADS, WIDTH), "float32")
        packed = own.create(1, 1, HEADS, WIDTH)
        self.assertAllEqual(
            np.isfinite(to_numpy(own.keys(packed, "float32"))), True
        )
        found = own.keys(own.encode(zeros, zeros), "float32")
        self.assertAllEqual(np.isfinite(to_numpy(found)), True)

    def test_steps_of_any_length_give_the_same(self):
        model = decoder(LLAMA)
        own = codec(4, block=4, heads=2, numbers=8)
        codecs = BlockCodecs([own] * 2, window=4, sinks=1, dtype="float32")
        store = KVCache(LLAMA, 12, codecs=codecs)
        one, _ = read(model, store, [1] * 12)
        many, _ = read(model, store, [4] * 3)
        exact, _ = read(model, KVCache(LLAMA, 12), [12])
        for own, other in zip(shown(many), shown(one), strict=True):
            self.assertAllClose(own, other, rtol=1e-4, atol=1e-4)
        self.assertNotAllClose(many[0, 9:], exact[0, 9:], atol=1e-3)
        self.assertAllClose(many[0, :8], exact[0, :8], rtol=1e-4, atol=1e-4)
