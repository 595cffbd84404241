"""Positive numbers in a byte: eighths of an octave."""

import math

from keras import ops

OCTAVE = 8  # steps that double a gain
MIDDLE = 128  # code of a gain of 1


def gain_codes(x):
    """The nearest gains of positive numbers, as uint8 codes.

    Args:
        x: Numbers; those beyond 2^-16 and 2^15.9 take the ends.
    """
    octaves = ops.log2(ops.maximum(ops.cast(x, "float32"), 1e-6))
    codes = ops.clip(ops.round(OCTAVE * octaves) + MIDDLE, 0, 255)
    return ops.cast(codes, "uint8")


def gains(codes):
    """Gains of codes, float32."""
    octaves = (ops.cast(codes, "float32") - MIDDLE) / OCTAVE
    return ops.exp(math.log(2.0) * octaves)  # a power of 2 takes far longer
