"""Weights in the native types of LiteRT: 8, 4 and 2 bits, or float."""

import dataclasses

import numpy as np

CODE_TYPES = {8: "INT8", 4: "INT4", 2: "INT2"}


@dataclasses.dataclass(eq=False)
class PackedWeight:
    """A weight as it lies in the file.

    Args:
        codes: Its bytes, or its floats.
        shape: `(outputs, inputs)`.
        type: Name of the tensor's type.
        scale: float32 `(outputs,)`, float16 `(outputs, blocks)`, or `None`
            where it is float.
        block: Inputs per scale, 0 for one scale an output.
    """

    codes: np.ndarray
    shape: tuple
    type: str
    scale: np.ndarray | None = None
    block: int = 0


def pack_codes(codes, bits):
    """Packs integers into bytes, the first in the lowest bits.

    Args:
        codes: int8, its size a multiple of the codes a byte holds.
        bits: 8, 4 or 2.

    Returns:
        Flat uint8 array.
    """
    flat = np.ascontiguousarray(codes, "int8").reshape(-1).view("uint8")
    if bits == 8:
        return flat
    each = 8 // bits
    parts = flat.reshape(-1, each) & np.uint8(2**bits - 1)
    packed = parts[:, 0].copy()
    for place in range(1, each):
        packed |= parts[:, place] << np.uint8(place * bits)
    return packed


def unpack_codes(data, bits, count):
    """The int8 codes that `pack_codes` packed."""
    data = np.frombuffer(data, "uint8")
    if bits == 8:
        return data.view("int8")[:count]
    each = 8 // bits
    shifts = np.arange(each, dtype="uint8") * np.uint8(bits)
    parts = (data[:, None] >> shifts) << np.uint8(8 - bits)
    return (parts.view("int8") >> np.int8(8 - bits)).reshape(-1)[:count]


def quantized_weight(codes, scale, bits):
    """A weight from its codes and scales.

    Args:
        codes: int8 `(outputs, inputs)`.
        scale: float32 `(outputs, groups)`.
        bits: Native bit-width, 8, 4 or 2.
    """
    outputs, inputs = codes.shape
    groups = scale.shape[1]
    if groups == 1:
        scale = np.ascontiguousarray(scale[:, 0], "float32")
    else:
        scale = np.ascontiguousarray(scale, "float16")
    return PackedWeight(
        codes=pack_codes(codes, bits),
        shape=(outputs, inputs),
        type=CODE_TYPES[bits],
        scale=scale,
        block=inputs // groups if groups > 1 else 0,
    )


def float_weight(values, bits=32):
    """A weight that is not quantized.

    Args:
        values: `(outputs, inputs)`.
        bits: 16 or 32 a value; kernels compute in 32 either way.
    """
    dtype = f"float{bits}"
    values = np.ascontiguousarray(values, dtype)
    return PackedWeight(codes=values, shape=values.shape, type=dtype)
