import importlib.util

import numpy as np
from keras import ops
from scipy import stats

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.backend import Compiled
from tfshrink.ops.random_bits import threefry
from tfshrink.ops.random_bits import uniform

# Known answers of the Random123 library: counter, key, result.
ANSWERS = (
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), 0x6B20015999BA4EFE),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), 0x1CB996FCBB002BE7),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), 0xC4923A9C483DF7A0),
)


def words(*values):
    return [ops.convert_to_tensor(np.uint32(v)) for v in values]


def draw(seed, rows, positions):
    key = ops.convert_to_tensor(np.array([seed, 0], "uint32"))
    rows = ops.convert_to_tensor(np.arange(rows)[:, None])
    positions = ops.convert_to_tensor(np.arange(positions)[None])
    return to_numpy(Compiled(uniform)(key, rows, positions))


class RandomBitsTest(TestCase):
    def test_threefry_matches_published_answers(self):
        for counter, key, expected in ANSWERS:
            left, right = threefry(words(*key), words(*counter))
            found = int(to_numpy(left)) << 32 | int(to_numpy(right))
            self.assertEqual(found, expected)

    def test_threefry_matches_jax(self):
        if not importlib.util.find_spec("jax"):
            self.skipTest("JAX is not installed")
        from jax.extend.random import threefry_2x32

        random = np.random.default_rng(0)
        key = random.integers(0, 2**32, 2, "uint32")
        counter = random.integers(0, 2**32, 64, "uint32")
        expected = np.asarray(threefry_2x32((key[0], key[1]), counter))
        found = threefry(
            words(*key),
            [ops.convert_to_tensor(x) for x in counter.reshape(2, -1)],
        )
        self.assertAllEqual(
            np.concatenate([to_numpy(x) for x in found]), expected
        )

    def test_uniform_matches_scipy_uniform(self):
        for seed in (0, 1, 2**31 - 1):
            drawn = draw(seed, 64, 256)
            self.assertTrue(((drawn >= 0) & (drawn < 1)).all())
            self.assertGreater(
                stats.kstest(drawn.ravel(), "uniform").pvalue, 1e-3
            )
            for counts in (
                np.histogram(drawn, 64, (0, 1))[0],
                # Neighbours, along rows and along positions.
                np.histogram2d(drawn[1:].ravel(), drawn[:-1].ravel(), 8)[0],
                np.histogram2d(drawn[:, 1:].ravel(), drawn[:, :-1].ravel(), 8)[
                    0
                ],
            ):
                self.assertGreater(stats.chisquare(counts.ravel()).pvalue, 1e-3)

    def test_a_number_depends_on_its_own_row_and_position_only(self):
        large = draw(3, 8, 16)
        self.assertAllEqual(draw(3, 2, 5), large[:2, :5])
        self.assertEqual(len(np.unique(large)), large.size)
        self.assertFalse((draw(4, 8, 16) == large).any())
