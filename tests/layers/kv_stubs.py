"""A codec without loss, and random statistics, for tests of the cache."""

import numpy as np
from keras import ops

from tfshrink.layers.kv_codec import KVCodec
from tfshrink.models.kv_statistics import KVStatistics


class Lossless(KVCodec):
    """Keeps what it gets; counts how often it was asked to code.

    Args:
        block: Tokens that are coded together.
        rotated: Whether keys come after RoPE.
        centre: `(H_kv, D)`, taken off keys before RoPE, or `None`.
    """

    def __init__(self, block, rotated=False, centre=None):
        self.block = block
        self.rotated = rotated
        self.centre = centre

    def encode(self, key, value):
        return {"key": key[:, None], "value": value[:, None]}

    def keys(self, packed, dtype):
        return ops.cast(_flat(packed["key"]), dtype)

    def mix(self, weights, packed):
        value = ops.transpose(_flat(packed["value"]), (0, 2, 1, 3))
        return ops.matmul(weights, ops.cast(value, weights.dtype))


def _flat(x):
    return ops.reshape(x, (-1, x.shape[1] * x.shape[2], *x.shape[3:]))


def statistics(layers, numbers, heads, seed=0):
    """`KVStatistics` of random axes, the first of which matter most."""
    random = np.random.default_rng(seed)
    shape = layers, 3, numbers
    turns = np.linalg.qr(random.normal(size=(*shape, numbers)))[0]
    deviations = np.geomspace(1.0, 0.05, numbers)
    steps = np.array([0.0, 1.597, 0.997, 0.336, 0.031])
    shares = np.array([1.0, 0.363, 0.119, 0.0115, 0.0001])
    left = shares[:, None] * deviations**2
    mean = random.normal(size=shape).astype("float32")
    mean[:, 2] = 0.0
    return KVStatistics(
        mean=mean,
        metric=np.broadcast_to(
            np.eye(numbers // heads, dtype="float32"),
            (layers, 3, heads, numbers // heads, numbers // heads),
        ),
        backward=(deviations[:, None] * np.swapaxes(turns, -1, -2)).astype(
            "float32"
        ),
        variances=np.broadcast_to(deviations**2, shape),
        left=np.broadcast_to(left, (layers, 3, *left.shape)),
        steps=np.broadcast_to(steps[:, None], (layers, 3, 5, numbers)),
    )
