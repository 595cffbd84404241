"""Codes of 1, 2, 4 or 8 bits, as many to a byte as fit."""

from keras import ops

WIDTHS = (1, 2, 4, 8)  # those that fill a byte


def pack(codes, bits):
    """Packs codes along the last axis.

    Byte i holds codes i, i + n, i + 2n, ... of n bytes, the first one lowest:
    taken apart they lie one run behind the other, without an interleaving.

    Args:
        codes: Integer tensor `(..., m)`, values 0 to 2^bits - 1, m a multiple
            of 8 / bits.
        bits: One of `WIDTHS`.

    Returns:
        uint8 `(..., m bits / 8)`.
    """
    share = 8 // bits
    parts = ops.split(ops.cast(codes, "int32"), share, axis=-1)
    whole = parts[0]
    for index, part in enumerate(parts[1:], 1):
        whole = whole + part * 2 ** (bits * index)
    return ops.cast(whole, "uint8")


def unpack(packed, bits, dtype="float32"):
    """Undoes `pack`.

    Args:
        packed: uint8 `(..., n)`.
        bits: As in `pack`.
        dtype: Of the result.

    Returns:
        `(..., 8 n / bits)`.
    """
    if bits == 8:
        return ops.cast(packed, dtype)
    whole, mask = ops.cast(packed, "int32"), 2**bits - 1
    parts = [
        ops.bitwise_and(ops.right_shift(whole, bits * index), mask)
        for index in range(8 // bits)
    ]
    return ops.cast(ops.concatenate(parts, axis=-1), dtype)
