"""Which native type of LiteRT holds a bit-width, and its codes in there."""

import dataclasses

import numpy as np

from tfshrink.deploy.litert.packed_weight import float_weight
from tfshrink.deploy.litert.packed_weight import PackedWeight
from tfshrink.deploy.litert.packed_weight import quantized_weight

# Bits between native ones ship in the next wider type.
NATIVE = {2: 2, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 8: 8}


@dataclasses.dataclass(eq=False)
class Shipped:
    """A weight in its container.

    Args:
        weight: `PackedWeight`.
        bits: Bits of the container, 16 or 32 for floats.
        half: float32 `(outputs,)`: what a sum of the inputs is multiplied by
            and added to the product, since native 2-bit codes lack the half
            step of their grid; else `None`.
    """

    weight: PackedWeight
    bits: int
    half: np.ndarray | None = None


def native_bits(bits, inputs, groups):
    """Bits of the container of a weight, 32 for a float one.

    Args:
        bits: Bit-width of the plan.
        inputs: Inputs of the weight.
        groups: Scales along them.
    """
    if bits == 2 and (groups > 1 or inputs % 4):
        return 4
    return NATIVE.get(bits, 32)


def shipped(dense):
    """Puts a weight into its container; nothing is rounded again.

    Args:
        dense: `FrozenDense`, or several to be joined along their outputs.

    Returns:
        `Shipped`.
    """
    parts = dense if isinstance(dense, list) else [dense]
    codes = np.concatenate([part.codes for part in parts])
    if parts[0].scale is None:
        bits = parts[0].bits
        return Shipped(float_weight(codes, bits), bits)
    scale = np.concatenate([part.scale for part in parts])
    bits = parts[0].bits
    native = native_bits(bits, codes.shape[1], scale.shape[1])
    half = None
    if bits == 2 and native == 2:
        half = np.ascontiguousarray(0.5 * scale[:, 0], "float32")
    elif bits == 2:
        codes, scale = 2 * codes + 1, 0.5 * scale
    return Shipped(quantized_weight(codes, scale, native), native, half)


def rounded_adapter(factor):
    """A factor of an adapter as an int8 weight, one scale an output.

    Args:
        factor: float32 `(outputs, inputs)`.
    """
    peak = np.abs(factor).max(axis=1, keepdims=True)
    scale = np.where(peak > 0, peak, 1.0) / 127.0
    codes = np.rint(factor / scale).astype("int8")
    return quantized_weight(codes, scale.astype("float32"), 8)
