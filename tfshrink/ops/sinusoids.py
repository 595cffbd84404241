"""Positions as sines and cosines of many wave lengths."""

import numpy as np
from keras import ops

LONGEST = 10000.0  # the slowest wave, in tokens, over 2 pi


def sinusoids(positions, width):
    """Position encodings.

    Args:
        positions: Integer `(...)`.
        width: C, even.

    Returns:
        float32 `(..., C)`: sines in the first half, cosines in the second.

    Reference: Vaswani et al., 1706.03762, section 3.5 (there in turns).
    """
    half = width // 2
    rates = LONGEST ** (-np.arange(half) / half)
    angles = ops.cast(positions, "float32")[..., None] * rates.astype("float32")
    return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)
