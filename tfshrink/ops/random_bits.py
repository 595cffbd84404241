"""Random numbers as a pure function of a key and a counter."""

from keras import ops

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def threefry(key, counter):
    """Threefry-2x32 with 20 rounds.

    Args:
        key: Pair of uint32 tensors.
        counter: Pair of uint32 tensors; all four broadcast.

    Returns:
        Pair of uint32 tensors, random bits.

    Reference: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
    3", section 4.3.
    """
    parity = ops.bitwise_xor(key[0], key[1])
    parity = ops.bitwise_xor(parity, _uint32(_PARITY))
    keys = (key[0], key[1], parity)
    left, right = counter[0] + keys[0], counter[1] + keys[1]
    for block in range(5):
        for distance in _ROTATIONS[block % 2]:
            left = left + right
            right = ops.bitwise_xor(_rotate(right, distance), left)
        left = left + keys[(block + 1) % 3]
        right = right + keys[(block + 2) % 3] + _uint32(block + 1)
    return left, right


def uniform(key, row, position):
    """Uniform numbers in [0, 1), one for each row and position.

    Args:
        key: uint32 `(2,)`.
        row: Non-negative integers.
        position: The same, of a shape that broadcasts with that of `row`.

    Returns:
        float32, a multiple of 2^-24.
    """
    counter = (ops.cast(row, "uint32"), ops.cast(position, "uint32"))
    bits, _ = threefry((key[0], key[1]), counter)
    bits = ops.bitwise_right_shift(bits, _uint32(8))
    return ops.cast(ops.cast(bits, "int32"), "float32") * 2.0**-24


def _rotate(x, distance):
    return ops.bitwise_or(
        ops.bitwise_left_shift(x, _uint32(distance)),
        ops.bitwise_right_shift(x, _uint32(32 - distance)),
    )


def _uint32(value):
    return ops.convert_to_tensor(value, "uint32")
