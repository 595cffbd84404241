"""A block's attention to a whole text as its coded cache would show it."""

import numpy as np
from keras import ops

from tfshrink.ops import attention
from tfshrink.ops import rotary
from tfshrink.ops.byte_rows import byte_rows
from tfshrink.ops.byte_rows import from_byte_rows


class ParallelKV:
    """What `CodedKV` does token after token, for all tokens at once.

    Each token sees the sinks and its window exactly and what lies before as it
    is decoded. A gradient passes the codec as if it changed nothing (a
    straight-through estimate), so weights can learn to live with it.

    Args:
        cache: `CodedKV`; its length does not matter.

    Call arguments:
        query: `(B, T, H D)`.
        key: `(B, T, H_kv D)`.
        value: Of the same shape.
        rotation: `(cosine, sine)` of columns 0 to T - 1, or `None`.

    Returns:
        `(B, T, H D)`, and `None`, as `Attention` takes them from a cache.

    Reference: Bengio et al., Estimating or propagating gradients through
    stochastic neurons, arXiv:1308.3432 (the straight-through estimate).
    """

    def __init__(self, cache):
        self.cache = cache

    def __call__(self, query, key, value, rotation=None):
        config, dtype = self.cache.config, query.dtype
        length, heads = query.shape[1], config.kv_heads
        query, key, value = attention.by_head(
            query, key, value, config.head_dim, rotation
        )
        coded = self._coded_at(np.arange(length))  # tokens, by query
        count = int(coded.max(initial=0))
        places = np.arange(length)
        old = (places < coded[:, None]) & (places >= self.cache.sinks)
        visible = places <= places[:, None]
        grouped = attention.by_group(query, heads)
        exact = key, value = [self._exact(x) for x in (key, value)]
        scores = ops.matmul(grouped, ops.transpose(exact[0], (0, 2, 3, 1)))
        if count:
            turns = rotation and [x[:, :count] for x in rotation]
            seen = self._decoded(key[:, :count], value[:, :count], turns)
            seen = [
                ops.concatenate([_through(x[:, :count], y), x[:, count:]], 1)
                for x, y in zip((key, value), seen, strict=True)
            ]
            other = ops.matmul(grouped, ops.transpose(seen[0], (0, 2, 3, 1)))
            scores = _where(old, other, scores)
        weights = attention.weights_of(scores, visible[None])
        out = ops.matmul(
            _where(old, 0.0, weights), ops.transpose(exact[1], (0, 2, 1, 3))
        )
        if count:
            out = out + ops.matmul(
                _where(old, weights, 0.0),
                ops.transpose(seen[1], (0, 2, 1, 3)),
            )
        out = ops.cast(attention.by_token(out, length), dtype)
        wide = config.heads * config.head_dim
        return ops.reshape(out, (-1, length, wide)), None

    def _coded_at(self, last):
        """Tokens that are coded while column `last` is the newest."""
        block = self.cache.block
        return np.maximum(last - self.cache.window, 0) // block * block

    def _exact(self, x):
        """Keys or values as the exact part holds them."""
        held = from_byte_rows(byte_rows(x, self.cache.dtype), "float32")
        return _through(x, ops.cast(held, x.dtype))

    def _decoded(self, key, value, rotation):
        """Keys after RoPE and values, `(B, n, H_kv, D)`, as decoded."""
        codec, shape = self.cache.codec, key.shape
        key, value = (
            ops.cast(ops.stop_gradient(x), "float32") for x in (key, value)
        )
        centre = None
        if codec.rotated and codec.centre is not None:
            centre = _turned(
                ops.convert_to_tensor(codec.centre)[None, None], rotation
            )
            key = key - centre
        elif not codec.rotated and rotation:
            key = rotary.rotate(key, rotation[0], -rotation[1])
        blocks = (-1, codec.block, *shape[2:])
        packed = codec.encode(*(ops.reshape(x, blocks) for x in (key, value)))
        keys = codec.keys(packed, "float32")
        keys = ops.reshape(keys, (-1, *shape[1:]))
        if centre is not None:
            keys = keys + centre
        elif not codec.rotated:
            keys = _turned(keys, rotation)
        return keys, ops.reshape(
            _values(codec, packed, shape[2]), (-1, *shape[1:])
        )


def _turned(key, rotation):
    return rotary.rotate(key, *rotation) if rotation else key


def _values(codec, packed, heads):
    """Values of blocks `(n, block, H_kv, D)`: what each alone is mixed to."""
    count = next(iter(packed.values())).shape[0]
    each = np.eye(codec.block, dtype="float32")[None, None]
    shape = (count, heads, codec.block, codec.block)
    mixed = codec.mix(ops.broadcast_to(each, shape), packed)
    return ops.transpose(mixed, (0, 2, 1, 3))


def _through(x, seen):
    """`seen`, with the gradient of `x`."""
    return x + ops.stop_gradient(ops.cast(seen, x.dtype) - x)


def _where(old, a, b):
    """By query `(T, S)`, of weights `(B, H_kv, G T, S)`."""
    own = a if ops.is_tensor(a) else b
    groups = own.shape[2] // old.shape[0]
    return ops.where(np.tile(old, (groups, 1)), a, b)
