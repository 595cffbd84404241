"""Rows of numbers as they are stored: floating, or int8 with a scale each."""

from keras import ops


def byte_rows(x, dtype):
    """Rows along the last axis, in their storage type.

    Args:
        x: `(..., D)`.
        dtype: Floating type, or `"int8"`: codes and a bfloat16 scale a row.

    Returns:
        Dict of tensors `(..., D)` and, of int8, `(..., 1)`.
    """
    if dtype != "int8":
        return {"rows": ops.cast(x, dtype)}
    x = ops.cast(x, "float32")
    top = ops.max(ops.abs(x), axis=-1, keepdims=True)
    scales = ops.cast(ops.maximum(top, 1e-12) / 127.0, "bfloat16")
    codes = ops.round(x / ops.cast(scales, "float32"))
    codes = ops.cast(ops.clip(codes, -127, 127), "int8")
    return {"codes": codes, "scales": scales}


def from_byte_rows(stored, dtype):
    """Undoes `byte_rows`, in a compute type."""
    if "rows" in stored:
        return ops.cast(stored["rows"], dtype)
    codes = ops.cast(stored["codes"], dtype)
    return codes * ops.cast(stored["scales"], dtype)
