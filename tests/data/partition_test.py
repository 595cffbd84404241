import hashlib

import numpy as np

from tests.test_case import TestCase
from tfshrink.data.partition import position
from tfshrink.data.partition import split_of
from tfshrink.data.partition import text_identity

SHARES = {"train": 0.7, "calibrate": 0.1, "test": 0.2}


class PartitionTest(TestCase):
    def test_position_is_the_hash_as_a_fraction(self):
        expected = int(hashlib.sha256(b"lambda").hexdigest(), 16) / 2**256
        self.assertAllClose(position("lambda"), expected, atol=1e-12)

    def test_shares_are_met(self):
        splits = [split_of(f"key {i}", SHARES) for i in range(20000)]
        for split, share in SHARES.items():
            self.assertAllClose(
                splits.count(split) / len(splits), share, atol=0.01
            )

    def test_shares_that_round_below_one_still_answer(self):
        key = max(map(str, range(1000)), key=position)
        self.assertEqual(split_of(key, {"a": 0.5, "b": 0.4}), "b")

    def test_identity_sees_text_order_and_bounds(self):
        texts = (["ab", "c"], ["a", "bc"], ["c", "ab"], ["ab"], [])
        self.assertLen(set(map(text_identity, texts)), len(texts))
        self.assertEqual(
            text_identity(["ab"]),
            hashlib.sha256(
                np.uint64(2).byteswap().tobytes() + b"ab"
            ).hexdigest(),
        )
