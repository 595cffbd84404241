"""Outputs that a plan removes: computed as zeros until an export drops them."""

from keras import ops


def split(bits):
    """What a layer is called with: its bit-width, and how many parts go.

    Args:
        bits: Integer scalar, or `(2,)` with the removed parts behind, or
            `None`.

    Returns:
        `(bits, removed)`, scalars or `None`.
    """
    if bits is None:
        return None, None
    bits = ops.convert_to_tensor(bits, "int32")
    return (bits[0], bits[1]) if len(bits.shape) else (bits, None)


def without(x, parts, removed):
    """Zeros in place of the last parts of the last axis.

    Args:
        x: `(..., units)`.
        parts: Parts of equal size that the units are.
        removed: Scalar integer tensor: how many of them go.
    """
    units = x.shape[-1]
    kept = ops.arange(units) < (parts - removed) * (units // parts)
    return x * ops.cast(kept, x.dtype)
