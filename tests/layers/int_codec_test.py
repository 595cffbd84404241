import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.layers.int_codec import IntCodec
from tfshrink.ops.packing import unpack


def half_a_step(x, bits, axis):
    """How far a number may be from what is kept of it."""
    spread = x.max(axis, keepdims=True) - x.min(axis, keepdims=True)
    return 0.5 * spread / (2**bits - 1)


class IntCodecTest(TestCase):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(0)
        # Numbers that bfloat16 holds at both ends.
        self.key, self.value = random.integers(
            -64, 65, (2, 2, 8, 3, 16)
        ).astype("float32")

    def packed(self, codec):
        parts = [
            codec.encode(self.key[:, i : i + 4], self.value[:, i : i + 4])
            for i in (0, 4)
        ]
        return {
            name: ops.concatenate([part[name] for part in parts], axis=1)
            for name in parts[0]
        }

    @parameterized.parameters(8, 4, 2)
    def test_numbers_are_rounded_between_the_ends_of_their_group(self, bits):
        codec = IntCodec(bits, 4)
        packed = self.packed(codec)
        self.assertEqual(
            tuple(packed["key_codes"].shape), (2, 2, 4, 3, 16 * bits // 8)
        )
        error = np.abs(to_numpy(codec.keys(packed, "float32")) - self.key)
        for i in (0, 4):
            most = half_a_step(self.key[:, i : i + 4], bits, 1)
            self.assertAllEqual(error[:, i : i + 4] < 1.02 * most + 0.6, True)
        self.assertBetween(error.mean(), 0.1 * most.mean(), most.mean())

    @parameterized.parameters(8, 4, 2)
    def test_values_are_mixed_as_if_they_were_decoded(self, bits):
        packed = self.packed(IntCodec(bits, 4))
        shape = 2, 8, 3, -1
        codes, step, low = (
            to_numpy(x).astype("float32").reshape(shape)
            for x in (
                unpack(packed["value_codes"], bits),
                packed["value_step"],
                packed["value_low"],
            )
        )
        values = codes * step + low
        most = half_a_step(self.value, bits, 3)
        error = np.abs(values - self.value)
        self.assertAllEqual(error < 1.02 * most + 0.6, True)
        weights = np.random.default_rng(1).random((2, 3, 5, 8))
        weights = weights.astype("float32")
        found = IntCodec(bits, 4).mix(ops.convert_to_tensor(weights), packed)
        expected = np.einsum("bhrs,bshd->bhrd", weights, values)
        self.assertAllClose(found, expected, rtol=1e-4, atol=1e-3)

    def test_equal_numbers_come_back(self):
        codec = IntCodec(4, 4)
        same = np.full((2, 4, 3, 16), 0.5, "float32")
        packed = codec.encode(same, same)
        self.assertAllEqual(codec.keys(packed, "float32"), same)
        self.assertAllEqual(
            np.isfinite(
                to_numpy(codec.mix(np.ones((2, 3, 1, 4), "float32"), packed))
            ),
            True,
        )
