"""Scaled dot-product attention with grouped queries."""

import functools

import keras
import numpy as np
from keras import ops

from tfshrink.backend import all_slopes
from tfshrink.backend import first_slope
from tfshrink.backend import multiply
from tfshrink.backend import softmax
from tfshrink.fusion import fuse
from tfshrink.ops import rotary
from tfshrink.ops.rows import row_sum

# From this length on, two blocks of queries beat one on a CPU, and beat more.
SPLIT_FROM = 256


def by_head(query, key, value, width, rotation=None):
    """Takes heads apart and rotates queries and keys.

    Args:
        query: `(B, T, H D)`.
        key: `(B, T, H_kv D)`.
        value: Of the same shape.
        width: Head width D.
        rotation: `(cosine, sine)` of `rotary.tables`, or `None`.

    Returns:
        `(query, key, value)`: `(B, T, H or H_kv, D)`.
    """
    return fuse(_splitter(width))(query, key, value, *(rotation or ()))


def attend_causal(query, key, value, width, rotation=None):
    """Attention of each token to itself and those before it.

    Queries go in two blocks, so that half of what the mask would silence is
    never computed.

    Args:
        query: `(B, T, H D)`, as in `by_head`.
        key: `(B, T, H_kv D)`.
        value: Of the same shape.
        width: Head width D.
        rotation: `(cosine, sine)`, or `None`.

    Returns:
        `(B, T, H D)`.
    """
    length = query.shape[1]
    *queries, key, value = _arranged_flat(
        query, key, value, width, rotation or ()
    )
    size = length // len(queries)
    outputs = []
    for index, own in enumerate(queries):
        stop = (index + 1) * size
        places = np.arange(stop)
        mask = places <= np.arange(stop - size, stop)[:, None]
        outputs.append(
            _attend(own, key[..., :stop], value[:, :, :stop], mask[None])
        )
    return fuse(_collector(size))(*outputs)


def causal_maps(query, key, value, width, rotation=None):
    """Causal attention, and who looked where.

    Args:
        query: `(B, T, H D)`, as in `attend_causal`.
        key: `(B, T, H_kv D)`.
        value: Of the same shape.
        width: Head width D.
        rotation: `(cosine, sine)`, or `None`.

    Returns:
        `(output, weights)`: `(B, T, H D)`, and the softmax `(B, H, T, T)`.
    """
    query, key, value = by_head(query, key, value, width, rotation)
    length, heads = query.shape[1:3]
    places = np.arange(length)
    mask = (places <= places[:, None])[None]
    grouped = by_group(query, key.shape[2])
    key, value = _keys_and_values(key, value)
    weights = weights_of(ops.matmul(grouped, key), mask)
    out = by_token(ops.matmul(weights, value), length)
    out = ops.reshape(out, (-1, length, heads * width))
    return out, ops.reshape(weights, (-1, heads, length, length))


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
    grouped = by_group(query, key.shape[2])
    key, value = _keys_and_values(key, value)
    return by_token(_attend(grouped, key, value, mask), query.shape[1])


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
    grouped = by_group(query, key.shape[1])
    key = ops.transpose(key, (0, 1, 3, 2))
    return by_token(_attend(grouped, key, value, mask), query.shape[1])


def _attend(query, key, value, mask):
    """Attention of queries `by_group`, `_keys_and_values`; out as queries."""
    dtype = query.dtype
    key, value = ops.cast(key, dtype), ops.cast(value, dtype)

    @keras.ops.custom_gradient
    def differentiable(query, key, value):
        weights = weights_of(ops.matmul(query, key), mask)
        out = ops.matmul(weights, value)

        def backward(*slopes, **_):
            slope = first_slope(slopes)
            by_weights = multiply(slope, value, transpose_b=True)
            by_scores = fuse(_softmax_gradient)(weights, by_weights, out, slope)
            return (
                multiply(by_scores, key, transpose_b=True),
                multiply(query, by_scores, transpose_a=True),
                multiply(weights, slope, transpose_a=True),
            )

        return out, backward

    return differentiable(query, key, value)


def weights_of(scores, mask):
    """Softmax of scores; masked places get zero.

    Args:
        scores: `(B, H_kv, G T, S)`: of queries `by_group`.
        mask: Boolean `(B or 1, T, S)`.

    Returns:
        As `scores`.
    """
    mask = ops.convert_to_tensor(mask)
    _, kv_heads, rows, cached = scores.shape
    length = mask.shape[-2]
    shape = (-1, kv_heads, rows // length, length, cached)
    scores = ops.reshape(scores, shape)
    weights = softmax(fuse(_masked)(scores, mask[:, None, None]))
    return ops.reshape(weights, (-1, kv_heads, rows, cached))


def _masked(scores, mask):
    return ops.where(mask, scores, ops.cast(-1e30, scores.dtype))


def _softmax_gradient(weights, by_weights, out, slope):
    """Gradient in the scores.

    The sum that a softmax's gradient subtracts from a row is that of the
    output times its own gradient, which is shorter.

    Reference: Dao et al., FlashAttention, arXiv:2205.14135, appendix B.2.
    """
    dtype = weights.dtype
    weights, by_weights, out, slope = (
        ops.cast(x, "float32") for x in (weights, by_weights, out, slope)
    )
    return ops.cast(weights * (by_weights - row_sum(out * slope)), dtype)


@functools.cache
def _splitter(width):
    def heads(x):
        return ops.reshape(x, (-1, x.shape[1], x.shape[2] // width, width))

    def split(query, key, value, *rotation):
        query, key, value = heads(query), heads(key), heads(value)
        if rotation:
            query = rotary.rotate(query, *rotation)
            key = rotary.rotate(key, *rotation)
        return query, key, value

    return split


def _arranged_flat(query, key, value, width, rotation):
    """Rotated queries in blocks, keys and values; the way back is as direct.

    Returns:
        A tuple: blocks of queries `by_group`, then `_keys_and_values`.
    """

    @keras.ops.custom_gradient
    def differentiable(*flat):
        def backward(*slopes, **_):
            slopes = all_slopes(slopes)
            return fuse(_flattener(len(slopes) - 2))(*slopes, *rotation)

        return fuse(_arranger(width))(*flat, *rotation), backward

    return differentiable(query, key, value)


@functools.cache
def _arranger(width):
    split = _splitter(width)

    def arrange(*flat):
        query, key, value = split(*flat)
        blocks = ops.split(query, _blocks(query.shape[1]), axis=1)
        return (
            *[by_group(block, key.shape[2]) for block in blocks],
            *_keys_and_values(key, value),
        )

    return arrange


def _blocks(length):
    return 2 if length >= SPLIT_FROM and length % 2 == 0 else 1


@functools.cache
def _collector(size):
    """Joins blocks of `size` tokens that are `by_group`: `(B, T, H D)`."""

    def collect(*blocks):
        whole = ops.concatenate([by_token(x, size) for x in blocks], axis=1)
        _, length, heads, width = whole.shape
        return ops.reshape(whole, (-1, length, heads * width))

    return collect


@functools.cache
def _flattener(blocks):
    """Transpose of `_arranger`: a rotation's transpose turns back."""

    def flatten(*arguments):
        queries, (key, value) = arguments[:blocks], arguments[blocks:][:2]
        length, width = value.shape[2:]
        query = ops.concatenate(
            [by_token(x * (width**-0.5), length // blocks) for x in queries],
            axis=1,
        )
        key = ops.transpose(key, (0, 3, 1, 2))
        value = ops.transpose(value, (0, 2, 1, 3))
        if arguments[blocks + 2 :]:
            cosine, sine = arguments[blocks + 2 :]
            query = rotary.rotate(query, cosine, -sine)
            key = rotary.rotate(key, cosine, -sine)
        return [
            ops.reshape(x, (-1, length, x.shape[2] * width))
            for x in (query, key, value)
        ]

    return flatten


def _keys_and_values(key, value):
    """From `(B, S, H_kv, D)` to `(B, H_kv, D, S)` and `(B, H_kv, S, D)`."""
    return ops.transpose(key, (0, 2, 3, 1)), ops.transpose(value, (0, 2, 1, 3))


def by_group(query, kv_heads):
    """Queries scaled, those that share keys and values in one matrix.

    Args:
        query: `(B, T, H, D)`.
        kv_heads: Key/value heads H_kv, each of G query heads.

    Returns:
        `(B, H_kv, G T, D)`.
    """
    _, length, heads, width = query.shape
    shared = heads // kv_heads
    query = query * (width**-0.5)
    query = ops.reshape(query, (-1, length, kv_heads, shared, width))
    query = ops.transpose(query, (0, 2, 3, 1, 4))
    return ops.reshape(query, (-1, kv_heads, shared * length, width))


def by_token(out, length):
    """Undoes `by_group`: `(B, T, H, D)`."""
    _, kv_heads, rows, width = out.shape
    shared = rows // length
    out = ops.reshape(out, (-1, kv_heads, shared, length, width))
    out = ops.transpose(out, (0, 3, 1, 2, 4))
    return ops.reshape(out, (-1, length, kv_heads * shared, width))
