import numpy as np
from absl.testing import parameterized
from keras import ops
from scipy.fft import dct

from tests.layers.coded_kv_test import decoder
from tests.layers.coded_kv_test import read
from tests.layers.coded_kv_test import shown
from tests.layers.layer_inputs import LLAMA
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.layers.block_codecs import BlockCodecs
from tfshrink.layers.kv_cache import KVCache
from tfshrink.layers.time_codec import side_bytes
from tfshrink.layers.time_codec import TimeCodec

BLOCK, HEADS, WIDTH = 16, 2, 16


def codec(bits, **options):
    size = side_bytes(BLOCK, HEADS, WIDTH) + bits * HEADS * WIDTH / 8
    basis = dct(np.eye(BLOCK), norm="ortho", axis=0)
    return TimeCodec(basis, HEADS, WIDTH, size, **options)


def walks(blocks, seed=0):
    """Slow random walks on channels of very different size."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(2, blocks * BLOCK, HEADS, WIDTH)).cumsum(1)
    sizes = np.geomspace(10, 0.1, HEADS * WIDTH).reshape(HEADS, WIDTH)
    return (x * sizes + 3 * sizes).astype("float32")


def packed(own, x):
    parts = [
        own.encode(x[:, i : i + BLOCK], x[:, i : i + BLOCK])
        for i in range(0, x.shape[1], BLOCK)
    ]
    return {
        name: ops.concatenate([part[name] for part in parts], axis=1)
        for name in parts[0]
    }


class TimeCodecTest(TestCase):
    @parameterized.parameters((8, 1e-3), (4, 0.02), (2, 0.15))
    def test_fewer_bits_leave_more_error(self, bits, most):
        own, x = codec(bits), walks(3)
        found = to_numpy(own.keys(packed(own, x), "float32"))
        means = x.reshape(2, 3, BLOCK, HEADS, WIDTH).mean(2, keepdims=True)
        means = np.broadcast_to(means, (2, 3, BLOCK, HEADS, WIDTH))
        moved = np.square(x - means.reshape(x.shape)).sum()
        self.assertBetween(np.square(found - x).sum() / moved, 0.0, most)

    def test_bytes_are_those_it_was_given(self):
        for bits in (2, 3, 4):
            parts = packed(codec(bits), walks(1))
            for name in ("key", "value"):
                count = sum(
                    np.prod(x.shape[1:]) * (2 if "scales" in part else 1)
                    for part, x in parts.items()
                    if part.startswith(name)
                )
                wanted = side_bytes(BLOCK, HEADS, WIDTH) + bits * 32 / 8
                self.assertLessEqual(count / BLOCK, wanted)
                self.assertGreater(count / BLOCK, wanted - 1.01)

    def test_values_are_mixed_as_if_they_were_decoded(self):
        own, x = codec(4), walks(3)
        parts = packed(own, x)
        renamed = {
            part.replace("value", "key"): y
            for part, y in parts.items()
            if part.startswith("value")
        }
        as_keys = codec(4)
        as_keys.runs = {"key": own.runs["value"]}
        decoded = to_numpy(as_keys.keys(renamed, "float32"))
        weights = np.random.default_rng(3).random((2, HEADS, 5, 3 * BLOCK))
        weights = weights.astype("float32")
        found = own.mix(ops.convert_to_tensor(weights), parts)
        expected = np.einsum("bhrs,bshd->bhrd", weights, decoded)
        self.assertAllClose(found, expected, rtol=1e-4, atol=1e-2)

    def test_what_does_not_move_comes_back(self):
        x = np.full((1, BLOCK, HEADS, WIDTH), 0.5, "float32")
        own = codec(2)
        found = own.keys(own.encode(x, x), "float32")
        self.assertAllClose(found, x, rtol=0.01)

    @parameterized.parameters(False, True)
    def test_steps_of_any_length_give_the_same(self, rotated):
        model = decoder(LLAMA)
        size = side_bytes(4, 2, 4) + 2
        own = TimeCodec(np.eye(4), 2, 4, size, rotated=rotated)
        codecs = BlockCodecs([own] * 2, window=4, sinks=1, dtype="float32")
        store = KVCache(LLAMA, 12, codecs=codecs)
        one, _ = read(model, store, [1] * 12)
        many, _ = read(model, store, [4] * 3)
        for row, other in zip(shown(many), shown(one), strict=True):
            self.assertAllClose(row, other, rtol=1e-4, atol=1e-4)
