import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.ops.bit_allocation import allocate
from tfshrink.ops.packing import pack
from tfshrink.ops.packing import unpack


class PackingTest(TestCase):
    @parameterized.parameters(1, 2, 4, 8)
    def test_codes_come_back_and_fill_their_bytes(self, bits):
        codes = np.random.default_rng(bits).integers(0, 2**bits, (3, 5, 24))
        packed = pack(codes, bits)
        self.assertEqual(tuple(packed.shape), (3, 5, 24 * bits // 8))
        self.assertEqual(str(to_numpy(packed).dtype), "uint8")
        self.assertAllEqual(unpack(packed, bits), codes)


class AllocationTest(TestCase):
    def test_it_is_the_best_of_all(self):
        random = np.random.default_rng(0)
        prices = [0, 1, 2, 4]
        for budget in (0, 3, 7, 16):
            left = np.sort(random.random((4, 4)), axis=0)[::-1]
            found = allocate(left, prices, budget)
            self.assertLessEqual(sum(prices[i] for i in found), budget)
            levels = np.indices((4,) * 4).reshape(4, -1).T
            fits = np.array(prices)[levels].sum(1) <= budget
            best = left[levels, np.arange(4)].sum(1)[fits].min()
            self.assertAlmostEqual(left[found, np.arange(4)].sum(), best)
