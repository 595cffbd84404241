"""Rotary position embedding, in the half-split order of Hugging Face."""

import math

import numpy as np
from keras import ops


def frequencies(head_dim, theta, scaling=None):
    """Inverse frequencies of the rotation, as a NumPy array `(D / 2,)`.

    Args:
        head_dim: Head width D.
        theta: Base of the geometric series.
        scaling: `None`, or a dict as in `DecoderConfig.rope_scaling`.

    Returns:
        float32 array, in radians per token.
    """
    powers = np.arange(0, head_dim, 2, dtype="float64") / head_dim
    inverse = 1.0 / theta**powers
    if scaling is None:
        return inverse.astype("float32")
    if scaling["type"] == "linear":
        return (inverse / scaling["factor"]).astype("float32")
    return _llama3(inverse, scaling).astype("float32")


def _llama3(inverse, scaling):
    """Llama 3.1: long waves slowed, short ones kept, a ramp between."""
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    length = 2 * math.pi / inverse
    ramp = (scaling["original_context"] / length - low) / (high - low)
    ramp = np.clip(ramp, 0.0, 1.0)
    return inverse * (ramp + (1 - ramp) / scaling["factor"])


def tables(positions, inverse):
    """Cosine and sine `(B, T, 1, D)` in float32 for integer positions."""
    angles = ops.cast(positions, "float32")[..., None] * inverse
    angles = ops.concatenate([angles, angles], axis=-1)[..., None, :]
    return ops.cos(angles), ops.sin(angles)


def rotate(x, cosine, sine):
    """Rotates `x` `(B, T, H, D)` by its positions; the type stays."""
    half = x.shape[-1] // 2
    wide = ops.cast(x, "float32")
    turned = ops.concatenate([-wide[..., half:], wide[..., :half]], axis=-1)
    return ops.cast(wide * cosine + turned * sine, x.dtype)
