import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from hypothesis.extra import numpy as arrays

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.ops.packing import pack
from tfshrink.ops.packing import unpack
from tfshrink.ops.packing import WIDTHS


@st.composite
def codes(draw):
    """A bit-width, and codes of it of any shape that fills its bytes."""
    bits = draw(st.sampled_from(WIDTHS))
    shape = draw(arrays.array_shapes(max_dims=4, max_side=5))
    shape = (*shape[:-1], shape[-1] * (8 // bits))
    values = st.integers(0, 2**bits - 1)
    return bits, draw(arrays.arrays("int32", shape, elements=values))


class PackingPropertiesTest(TestCase):
    @given(codes())
    def test_unpacking_undoes_packing(self, drawn):
        bits, own = drawn
        packed = to_numpy(pack(own, bits))
        self.assertEqual(packed.nbytes * 8, own.size * bits)
        self.assertAllEqual(unpack(packed, bits, "int32"), own)

    @given(codes())
    def test_packing_undoes_unpacking(self, drawn):
        bits, own = drawn
        packed = own.astype("uint8")  # any bytes are some codes
        self.assertAllEqual(pack(unpack(packed, bits), bits), packed)

    @given(codes(), st.data())
    def test_a_code_is_in_one_byte_alone(self, drawn, data):
        bits, own = drawn
        place = tuple(data.draw(st.integers(0, n - 1)) for n in own.shape)
        other = own.copy()
        other[place] = (own[place] + 1) % 2**bits
        changed = to_numpy(pack(own, bits)) != to_numpy(pack(other, bits))
        self.assertEqual(changed.sum(), 1)
        column = place[-1] % packed_width(own, bits)
        self.assertEqual(np.argwhere(changed)[0][-1], column)


def packed_width(own, bits):
    return own.shape[-1] * bits // 8
