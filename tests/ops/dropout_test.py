import keras
import numpy as np
from keras import ops

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.backend import Compiled
from tfshrink.ops.dropout import Dropout

X = np.ones((50, 80), "float32")


def dropped(seed, place=0, calls=1, rate=0.25, dtype="float32"):
    """What the last of so many calls makes of ones, compiled."""

    def run(x, seed):
        layer = Dropout(rate, seed, place)
        for _ in range(calls):
            out = layer(x)
        return ops.cast(out, "float32")

    x = ops.cast(X, dtype)
    return to_numpy(Compiled(run)(x, np.array(seed, "int32")))


class DropoutTest(TestCase):
    def test_share_and_scale(self):
        out = dropped((0, 3))
        self.assertEqual(set(np.unique(out)), {0.0, np.float32(1 / 0.75)})
        # Four standard deviations of 4,000 coins.
        self.assertAllClose((out == 0).mean(), 0.25, atol=0.028)
        self.assertAllClose(out.mean(), 1.0, atol=0.04)

    def test_noise_is_a_function_of_seed_step_place_and_call(self):
        first = dropped((0, 3), place=1, calls=2)
        self.assertAllEqual(dropped((0, 3), place=1, calls=2), first)
        others = {
            "seed": dropped((1, 3), place=1, calls=2),
            "step": dropped((0, 4), place=1, calls=2),
            "place": dropped((0, 3), place=2, calls=2),
            "call": dropped((0, 3), place=1, calls=1),
            # Products beyond 32 bits wrap round.
            "late": dropped((2**31 - 1, 10**6), place=1, calls=2),
        }
        for name, other in others.items():
            with self.subTest(name):
                both = ((first == 0) & (other == 0)).mean()
                self.assertAllClose(both, 0.0625, atol=0.016)

    def test_the_type_stays_and_zero_drops_nothing(self):
        layer = Dropout(0.0, ops.convert_to_tensor([0, 1]), 0)
        out = layer(ops.cast(X, "bfloat16"))
        dtype = keras.backend.standardize_dtype(out.dtype)
        self.assertEqual(dtype, "bfloat16")
        self.assertAllEqual(ops.cast(out, "float32"), X)
