"""Outputs that a plan removes: computed as zeros until an export drops them."""

from keras import ops


def split(bits):
    """What a layer is called with: bit-width, removed parts, pruned weights.

    Args:
        bits: Integer scalar, or `(2,)` with the removed parts behind, or `(3,)`
            with the pruned weights behind those (`ops.prune`), or `None`.

    Returns:
        `(bits, removed, pruned)`, scalars or `None`.
    """
    if bits is None:
        return None, None, None
    bits = ops.convert_to_tensor(bits, "int32")
    values = [bits]
    if len(bits.shape):
        values = [bits[place] for place in range(bits.shape[0])]
    return (*values, None, None)[:3]


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
