"""Which weights stay: masks by magnitude, as pure functions of tensors.

How much goes is a tensor: one compiled function serves every level. It counts
parts of `WHOLE`; a negative one is 2:4, two of any four inputs in a row.
"""

import math

import numpy as np
from keras import ops

WHOLE = 10_000
PATTERN = -WHOLE // 2  # 2:4 takes half
SAMPLE = 16_384  # weights that a threshold is found from


def magnitude_threshold(weight, level):
    """The magnitude that a fraction of the weights stays below.

    Of a large weight it is found from a sample, at equal distances and across
    all rows and columns: the share that is pruned is within 1.2 % of the level
    (three standard errors).

    Args:
        weight: Any shape.
        level: Scalar tensor, the fraction in [0, 1).

    Returns:
        Scalar float32; 0 at level 0.
    """
    count = math.prod(weight.shape)
    stride = max(1, count // SAMPLE)
    while math.gcd(stride, weight.shape[-1]) > 1:
        stride += 1
    sample = ops.reshape(weight, (-1,))[::stride]
    ordered = ops.sort(ops.abs(ops.cast(sample, "float32")))
    size = ordered.shape[0]
    place = ops.cast(ops.floor(ops.cast(level, "float32") * size), "int32")
    found = ops.take(ordered, ops.clip(place, 0, size - 1))
    return ops.where(level > 0.0, found, 0.0)


def two_of_four_mask(weight):
    """1 for the two largest of every four inputs in a row, else 0.

    Of equals the first stay, so that exactly two do.

    Args:
        weight: `(inputs, outputs)`, inputs a multiple of 4.

    Returns:
        float32 of the same shape.
    """
    inputs, outputs = weight.shape
    size = ops.abs(ops.reshape(weight, (inputs // 4, 4, outputs)))
    own, other = size[:, :, None], size[:, None]
    place = np.arange(4)
    earlier = (place[None, :] < place[:, None])[None, :, :, None]
    larger = (other > own) | ((other == own) & earlier)
    rank = ops.sum(ops.cast(larger, "float32"), axis=2)
    return ops.reshape(ops.cast(rank < 2.0, "float32"), weight.shape)


def prune_mask(weight, parts):
    """1 where a weight stays, 0 where it goes.

    Args:
        weight: `(inputs, outputs)`.
        parts: Scalar integer tensor: how many of `WHOLE` go, or `PATTERN`.

    Returns:
        float32 of the same shape.
    """
    level = ops.cast(parts, "float32") / WHOLE

    def by_magnitude():
        threshold = magnitude_threshold(weight, level)
        return ops.cast(ops.abs(weight) >= threshold, "float32")

    if weight.shape[0] % 4:
        return by_magnitude()
    return ops.cond(parts < 0, lambda: two_of_four_mask(weight), by_magnitude)
