"""Host memory that graphs are bound to, and what marks columns in it."""

import numpy as np

# Marks of columns in place of a position, powers of two, later than any row:
EMPTY = float(2**30)  # holds nothing
OWN = float(2**31)  # kept free for the score of a single new token
_ALIGNMENT = 64  # bytes, of a buffer that is bound and not copied


def aligned(size, dtype="float32"):
    """Zeros at an address that LiteRT binds without a copy.

    Args:
        size: Numbers.
        dtype: Their type.
    """
    wanted = np.dtype(dtype).itemsize * size
    raw = np.zeros(wanted + _ALIGNMENT, "uint8")
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + wanted].view(dtype)
