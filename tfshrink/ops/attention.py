"""Scaled dot-product attention with grouped queries."""

from keras import ops

from tfshrink.backend import fuse


def _masked_softmax(scores, mask):
    """Softmax over the last axis in float32; masked places get zero."""
    wide = ops.cast(scores, "float32")
    wide = ops.where(mask, wide, -1e30)
    wide = wide - ops.stop_gradient(ops.max(wide, axis=-1, keepdims=True))
    exponentials = ops.exp(wide)
    total = ops.sum(exponentials, axis=-1, keepdims=True)
    return ops.cast(exponentials / total, scores.dtype)


def attend(query, key, value, mask):
    """Softmax attention.

    Args:
        query: `(B, T, H, D)`.
        key: `(B, S, H_kv, D)` with H a multiple of H_kv.
        value: Of the same shape.
        mask: Boolean `(B or 1, T, S)`, true where a query may look.

    Returns:
        `(B, T, H, D)`.
    """
    key = ops.transpose(key, (0, 2, 3, 1))
    value = ops.transpose(value, (0, 2, 1, 3))
    return _attend(query, key, value, mask)


def attend_cached(query, key, value, mask):
    """Softmax attention over a cache that is laid out by heads.

    Args:
        query: `(B, T, H, D)`.
        key: `(B, H_kv, S, D)`: copying a long cache into another order
            costs more than attending to it.
        value: `(B, H_kv, S, D)`.
        mask: Boolean `(B or 1, T, S)`.

    Returns:
        `(B, T, H, D)`.
    """
    return _attend(query, ops.transpose(key, (0, 1, 3, 2)), value, mask)


def _attend(query, key, value, mask):
    """Attention with keys `(B, H_kv, D, S)`, values `(B, H_kv, S, D)`."""
    _, length, heads, width = query.shape
    kv_heads = key.shape[1]
    shared = heads // kv_heads
    dtype = query.dtype
    query = query * (width**-0.5)
    query = ops.reshape(query, (-1, length, kv_heads, shared, width))
    query = ops.transpose(query, (0, 2, 3, 1, 4))  # (B, H_kv, G, T, D)
    query = ops.reshape(query, (-1, kv_heads, shared * length, width))
    scores = ops.matmul(query, ops.cast(key, dtype))  # (B, H_kv, G * T, S)
    cached = key.shape[-1]
    scores = ops.reshape(scores, (-1, kv_heads, shared, length, cached))
    weights = fuse(_masked_softmax)(scores, mask[:, None, None])
    weights = ops.reshape(weights, (-1, kv_heads, shared * length, cached))
    out = ops.matmul(weights, ops.cast(value, dtype))
    out = ops.reshape(out, (-1, kv_heads, shared, length, width))
    out = ops.transpose(out, (0, 3, 1, 2, 4))
    return ops.reshape(out, (-1, length, heads, width))
