"""Noise on weights and activations, in units of what it disturbs."""

from keras import ops

from tfshrink.ops.quantize import group_view
from tfshrink.ops.scale_search import peak_scale

LEAST = 1e-8  # of a range, so that a row of equal numbers has a step


def root_mean_square(x):
    """Root of the mean square of all numbers, a float32 scalar."""
    return ops.sqrt(ops.mean(ops.square(ops.cast(x, "float32"))))


def with_relative_noise(weight, noise, relative):
    """A weight with noise in proportion to its root mean square.

    Args:
        weight: Any shape.
        noise: Of the same shape and of unit variance.
        relative: Standard deviation of what is added, over the root mean
            square of `weight`.

    Returns:
        Of the shape and type of `weight`.
    """
    size = relative * root_mean_square(weight)
    noise = size * ops.cast(noise, "float32")
    return ops.cast(ops.cast(weight, "float32") + noise, weight.dtype)


def with_step_noise(weight, noise, bits, *, axis=0):
    """A weight with the noise of rounding to `bits`, a step a channel.

    Rounding to nearest is wrong by up to half a step either way; this model of
    it is uniform and independent of the weight.

    Args:
        weight: `(inputs, outputs)` with `axis=0`, `(V, C)` with `axis=1`.
        noise: Uniform in [-0.5, 0.5), of the same shape.
        bits: Bit-width, 2..8, whose last level is the peak of a channel.
        axis: The input axis.

    Returns:
        Of the shape and type of `weight`.

    Reference: Widrow and Kollar, Quantization Noise, 2008, chapter 4.
    """
    wide = ops.cast(weight, "float32")
    step = peak_scale(group_view(wide, 1, axis), bits, axis)  # (1, outputs)
    return ops.cast(wide + step * ops.cast(noise, "float32"), weight.dtype)


def with_row_step_noise(x, noise, bits):
    """Activations with the noise of rounding to `bits`, a step a row.

    Args:
        x: `(..., C)`; the range of a row holds 0, as in
            `quantize.quantize_activations`.
        noise: Uniform in [-0.5, 0.5), of the same shape.
        bits: Scalar, of 2^bits levels.

    Returns:
        Of the shape and type of `x`.
    """
    wide = ops.cast(x, "float32")
    low = ops.min(wide, axis=-1, keepdims=True, initial=0.0)
    high = ops.max(wide, axis=-1, keepdims=True, initial=0.0)
    levels = ops.power(2.0, ops.cast(bits, "float32"))
    step = ops.maximum(high - low, LEAST) / (levels - 1.0)
    return ops.cast(wide + step * ops.cast(noise, "float32"), x.dtype)
