import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.deploy.frozen import FrozenDense
from tfshrink.deploy.saved_model.packed_store import PackedStore


def dense(bits, *, outputs=24, inputs=16, groups=1, rank=0, seed=0):
    """A random weight and what its adapter adds."""
    random = np.random.default_rng(seed)
    if bits >= 16:
        values = random.normal(size=(outputs, inputs)).astype("float32")
        return FrozenDense(values, None, bits)
    high = 2 ** (bits - 1) - 1
    codes = random.integers(-2 if bits == 2 else -high, high + 1, (24, 16))
    # Group scales are bfloat16 values, as they are in a model.
    scale = random.integers(1, 255, (outputs, groups)) / 256.0
    factors = {}
    if rank:
        factors["down"] = random.normal(size=(rank, inputs)).astype("float32")
        factors["up"] = random.normal(size=(outputs, rank)).astype("float32")
    return FrozenDense(
        codes.astype("int8"), scale.astype("float32"), bits, **factors
    )


class PackedStoreTest(TestCase):
    @parameterized.product(
        bits=(2, 3, 4, 6, 8, 16, 32), axis=(0, 1), groups=(1, 2)
    )
    def test_products_and_rows_are_those_of_the_weight(
        self, bits, axis, groups
    ):
        own = dense(bits, groups=groups, rank=2 if axis == 0 else 0)
        store = PackedStore(own, axis)
        weight = own.values()
        if own.down is not None:
            weight = weight + own.up @ own.down
        product = tf.function(store.product, autograph=False)
        random = np.random.default_rng(1)
        # One token of one sequence takes another way than the others.
        for shape in ((1, 1), (2, 1), (1, 3)):
            x = random.normal(size=(*shape, 16)).astype("float32")
            found = product(tf.constant(x))
            self.assertAllClose(found, x @ weight.T, rtol=2e-3, atol=2e-2)
        if axis == 1:
            places = np.array([[0, 23, 11], [12, 5, 5]])
            rows = store.rows(tf.constant(places))
            self.assertAllClose(rows, weight[places], rtol=1e-3)

    @parameterized.parameters((2, 4), (3, 2), (4, 2), (6, 1), (8, 1))
    def test_bytes_hold_as_many_codes_as_they_can(self, bits, each):
        store = PackedStore(dense(bits), 0)
        self.assertEqual(store.codes.dtype, tf.uint8)
        self.assertEqual(tuple(store.codes.shape), (16, 24 // each))

    def test_outputs_that_fill_no_whole_bytes_stay_unpacked(self):
        own = dense(2)
        own = FrozenDense(own.codes[:22], own.scale[:22], 2)
        store = PackedStore(own, 0)
        self.assertEqual(tuple(store.codes.shape), (16, 22))
        x = np.eye(16, dtype="float32")[None]
        self.assertAllClose(store.product(tf.constant(x))[0], own.values().T)
