import hypothesis
import hypothesis.strategies as st
import numpy as np

from tests.test_case import TestCase
from tfshrink.deploy.litert.packed_weight import pack_codes
from tfshrink.deploy.litert.packed_weight import unpack_codes


class PackedWeightTest(TestCase):
    def test_first_code_is_in_the_lowest_bits(self):
        self.assertAllEqual(pack_codes(np.array([1, -1], "int8"), 4), [0xF1])
        self.assertAllEqual(
            pack_codes(np.array([1, -2, -1, 0], "int8"), 2), [0b00111001]
        )

    @hypothesis.given(st.sampled_from([2, 4, 8]), st.data())
    @hypothesis.settings(max_examples=60, deadline=None)
    def test_unpacks_what_was_packed(self, bits, data):
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        each = 8 // bits
        codes = data.draw(st.lists(st.integers(low, high), max_size=40))
        codes = codes[: len(codes) // each * each]
        packed = pack_codes(np.array(codes, "int8"), bits)
        self.assertLen(packed, len(codes) // each)
        self.assertAllEqual(unpack_codes(packed, bits, len(codes)), codes)
