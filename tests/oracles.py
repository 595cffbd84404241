"""The library's arithmetic once more, in plain NumPy and float64.

Written from the definitions, value by value where that is clearer, so that a
mistake in the tensor code is not repeated here.
"""

import numpy as np

WIDTHS = (2, 3, 4, 5, 6, 7, 8)


def levels(bits):
    """All levels of a bit-width, in steps of the scale."""
    if bits == 2:
        return np.array([-1.5, -0.5, 0.5, 1.5])
    top = 2 ** (bits - 1) - 1
    return np.arange(-top, top + 1, dtype="float64")


def nearest_level(steps, bits):
    """The level nearest to each of `steps`, a tie going to the even code."""
    choices = levels(bits)
    offset = 0.5 if bits == 2 else 0.0
    rounded = np.round(np.asarray(steps, "float64") - offset) + offset
    return np.clip(rounded, choices[0], choices[-1])


def quantize_weight(weight, scale, bits, axis=0):
    """Weight on the grid: one scale for each run of inputs and output."""
    weight = np.asarray(weight, "float64")
    if bits >= 16:
        return weight
    if axis == 1:
        return quantize_weight(weight.T, np.asarray(scale).T, bits).T
    out = np.empty_like(weight)
    size = weight.shape[0] // len(scale)
    for row in range(weight.shape[0]):
        step = np.asarray(scale[row // size], "float64")
        out[row] = nearest_level(weight[row] / step, bits) * step
    return out


def quantize_row_qd8(row):
    """One row as XNNPACK's f32 -> qd8 conversion stores and reads it."""
    one = np.float32
    low = min(one(0), row.min())
    high = max(one(0), row.max())
    scale = one(1) if low == high else one(255) / (high - low)
    at_low, at_high = low * scale, high * scale
    if (one(-128) + at_low) + (one(127) + at_high) > 0:
        zero = one(-128) - at_low
    else:
        zero = one(127) - at_high
    zero = int(np.rint(min(max(zero, one(-128)), one(127))))
    codes = [min(max(int(np.rint(x * scale)) + zero, -128), 127) for x in row]
    return np.array([one(code - zero) * (one(1) / scale) for code in codes])


def softmax(x):
    """Softmax over the last axis."""
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


def attention(query, key, value, mask):
    """Softmax attention, one query head at a time; masks `(B, T, S)`."""
    batch, length, heads, width = query.shape
    shared = heads // key.shape[2]
    out = np.zeros(query.shape, "float64")
    for b in range(batch):
        for h in range(heads):
            keys, values = key[b, :, h // shared], value[b, :, h // shared]
            scores = query[b, :, h] @ keys.T / np.sqrt(width)
            scores = np.where(mask[b], scores, -np.inf)
            out[b, :, h] = softmax(scores) @ values
    return out


def rotate(x, positions, inverse):
    """RoPE of `(B, T, H, D)` as a product of complex numbers."""
    half = x.shape[-1] // 2
    pairs = x[..., :half] + 1j * x[..., half:]
    turn = np.exp(1j * positions[..., None] * inverse)
    pairs = pairs * turn[:, :, None]
    return np.concatenate([pairs.real, pairs.imag], axis=-1)


def normalize(x, scale, bias=None, *, kind, epsilon):
    """RMSNorm or LayerNorm over the last axis."""
    x = np.asarray(x, "float64")
    if kind == "layer":
        x = x - x.mean(-1, keepdims=True)
        out = x / np.sqrt(x.var(-1, keepdims=True) + epsilon)
    else:
        out = x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)
    return out * scale + (0 if bias is None else bias)


def central_difference(function, x, direction, step=1e-3):
    """Slope of a scalar function at `x` along `direction`."""
    ahead, behind = (
        function(x + step * direction),
        function(x - step * direction),
    )
    return (ahead - behind) / (2 * step)


def quantize_rows_int8(matrix):
    """Each row rounded to 255 symmetric levels of its own peak."""
    rows = np.asarray(matrix, "float64")
    steps = np.abs(rows).max(axis=1, keepdims=True) / 127
    steps[steps == 0] = 1.0
    return np.round(rows / steps) * steps
