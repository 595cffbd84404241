"""Quantization grids as pure functions of tensors.

`bits` is a tensor everywhere: one compiled function serves every bit-width.
A value on the grid is `level * scale`. For b >= 3 the levels are the integers
-(2^(b-1)-1) .. 2^(b-1)-1; for b = 2 they are -1.5, -0.5, 0.5, 1.5 (all four
codes used, the step uniform). 16 bits and more mean: not quantized.
"""

import keras
from keras import ops

WIDTHS = (2, 3, 4, 5, 6, 7, 8)
FULL = 16  # from here on a bit-width means "not quantized"


def grid(bits):
    """Returns the lowest and highest level and the offset of a bit-width.

    Args:
        bits: Scalar or tensor of bit-widths.

    Returns:
        `(low, high, offset)` as float32 tensors: levels are the integers
        `low..high` plus `offset` (0.5 at 2 bits, else 0).
    """
    bits = ops.cast(bits, "float32")
    high = ops.power(2.0, ops.minimum(bits, 8.0) - 1.0) - 1.0
    two = bits < 2.5
    low = ops.where(two, -2.0, -high)
    return low, high, ops.where(two, 0.5, 0.0)


def round_through(x):
    """Rounds to integers; the gradient passes as if it had not."""
    return x + ops.stop_gradient(ops.round(x) - x)


def to_levels(x, bits):
    """Rounds `x`, given in steps of the scale, to the levels of `bits`.

    The gradient is straight through inside the grid and zero outside, so
    `to_levels(w / s, b) * s` has the LSQ gradient with respect to `s`.

    Args:
        x: Weights divided by their scale.
        bits: Bit-width, a scalar tensor.

    Returns:
        Levels, of the shape and type of `x`.

    Reference: Esser et al., LSQ, arXiv:1902.08153, equations 1-3.
    """
    low, high, offset = grid(bits)
    return round_through(ops.clip(x - offset, low, high)) + offset


def fake_quantize(x, scale, bits):
    """Quantizes and de-quantizes `x`; returns it unchanged from 16 bits on.

    Args:
        x: Tensor.
        scale: Positive step size, broadcastable to `x`.
        bits: Bit-width, a scalar tensor.

    Returns:
        Tensor of the shape of `x`.
    """
    return ops.where(bits >= FULL, x, to_levels(x / scale, bits) * scale)


def scale_gradient(x, factor):
    """Returns `x`; its gradient is multiplied by `factor`."""
    return x * factor + ops.stop_gradient(x * (1.0 - factor))


def round_bfloat16(x):
    """Rounds to a bfloat16 value, straight through; the type stays."""
    rounded = ops.cast(ops.cast(x, "bfloat16"), x.dtype)
    return x + ops.stop_gradient(rounded - x)


def quantize_activations(x):
    """Dynamic int8 per token, asymmetric, as XNNPACK's `qd8` does it.

    The range of a row always holds zero; the zero point is the integer that
    makes the error at both ends smallest.

    Args:
        x: Activations `(..., C)`.

    Returns:
        The de-quantized activations, with a straight-through gradient.
    """
    dtype = x.dtype
    x = ops.cast(x, "float32")
    low = ops.min(x, axis=-1, keepdims=True, initial=0.0)
    high = ops.max(x, axis=-1, keepdims=True, initial=0.0)
    # The kernel multiplies by the inverse step: a division rounds otherwise.
    span = ops.where(high > low, high - low, 255.0)
    inverse = 255.0 / span
    zero = _zero_point(low * inverse, high * inverse)
    codes = ops.clip(ops.round(x * inverse) + zero, -128.0, 127.0)
    quantized = (codes - zero) / inverse
    return ops.cast(x + ops.stop_gradient(quantized - x), dtype)


def round_to_int8(x, axis):
    """Rounds a factor of an adapter as it ships: int8, a scale an output.

    Args:
        x: float32 matrix.
        axis: Its input axis.

    Returns:
        The de-quantized factor, with a straight-through gradient.
    """
    # An adapter of rank 0 has no peak.
    peak = ops.max(ops.abs(x), axis=axis, keepdims=True, initial=0.0)
    scale = ops.where(peak > 0.0, peak, 1.0) / 127.0
    return x + ops.stop_gradient(ops.round(x / scale) * scale - x)


def _zero_point(low, high):
    """Rounds the zero point from the end with the smaller error."""
    from_low, from_high = -128.0 - low, 127.0 - high
    # XNNPACK compares the summed errors |q_end| + |x_end| of either end.
    error_low = -128.0 + low
    error_high = 127.0 + high
    zero = ops.where(error_low + error_high > 0.0, from_low, from_high)
    return ops.clip(ops.round(zero), -128.0, 127.0)


def group_view(x, groups, axis):
    """Splits the input axis of a weight into `groups` for broadcasting.

    Args:
        x: Kernel `(inputs, outputs)` with `axis=0`, or table `(V, C)` with
            `axis=1`.
        groups: Number of groups along `axis`.
        axis: The input axis.

    Returns:
        `(groups, inputs / groups, outputs)` or `(V, groups, C / groups)`.
    """
    rows, columns = x.shape
    if axis == 0:
        return ops.reshape(x, (groups, rows // groups, columns))
    return ops.reshape(x, (rows, groups, columns // groups))


def spread(scale, axis):
    """Adds the broadcast axis that matches `group_view`."""
    return ops.expand_dims(scale, 1 if axis == 0 else -1)


def quantize_weight(weight, scale, bits, *, axis=0):
    """Fake-quantizes a weight with one scale per group and output.

    Args:
        weight: `(inputs, outputs)` with `axis=0`, `(V, C)` with `axis=1`.
        scale: `(groups, outputs)` with `axis=0`, `(V, groups)` with `axis=1`.
        bits: Bit-width, a scalar tensor.
        axis: The input axis of `weight`.

    Returns:
        Tensor of the shape and type of `weight`.
    """
    groups = scale.shape[axis]
    grouped = group_view(weight, groups, axis)
    out = fake_quantize(grouped, spread(scale, axis), bits)
    return ops.reshape(out, weight.shape)


def dequantize_weight(codes, scale, bits, *, axis=0):
    """Turns integer (or soft) codes of a bank into a weight.

    Args:
        codes: int8 codes, or float soft codes in steps of the scale, of the
            weight's shape. Codes exclude the half step of 2 bits.
        scale: As in `quantize_weight`.
        bits: Bit-width, a scalar tensor.
        axis: The input axis.

    Returns:
        float32 weight.
    """
    groups = scale.shape[axis]
    offset = grid(bits)[2]
    if keras.backend.is_float_dtype(codes.dtype):
        levels = to_levels(codes + offset, bits)
    else:
        levels = ops.cast(codes, "float32") + offset
    out = group_view(levels, groups, axis) * spread(scale, axis)
    return ops.reshape(out, codes.shape)
