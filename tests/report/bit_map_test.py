import numpy as np

from tests.test_case import TestCase
from tfshrink.plan import Plan
from tfshrink.report.bit_map import bit_map
from tfshrink.report.bit_map import MOST


class BitMapTest(TestCase):
    def test_rows_are_kinds_and_columns_blocks(self):
        bits = "2,3,4,5,6,7,8,4"
        plan = Plan.parse(bits, layers=2, tied=False, group=32)
        own, tips = bit_map([plan]).draw()
        (image,) = own.axes[0].images
        shown = image.get_array().filled(0)
        inside = [[2, 6], [3, 7], [4, 8], [5, 4]]
        self.assertAllClose(shown[:, :2], inside)
        self.assertAllClose(shown[:, 2], np.zeros(4))  # a gap
        self.assertAllClose(shown[:, 3:], np.full((4, 2), 8))
        texts = [tip.text.partition(": ")[2] for tip in tips]
        self.assertIn("block_01/attention_out\n7 bits", texts)
        self.assertIn("head\n8 bits", texts)
        self.assertLen(tips, 4 * 4)

    def test_many_plans_are_some_of_them(self):
        plans = [
            Plan.from_block_bits([8] * i + [4] * (8 - i), layers=2, group=32)
            for i in range(8)
        ]
        chart = bit_map(plans)
        self.assertIn(f"{MOST} of 8 plans", chart.caption)
        self.assertEqual(chart.rows, MOST)
