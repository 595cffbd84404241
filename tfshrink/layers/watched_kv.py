"""A block's coded cache that shows what attention looks at."""

import copy

from keras import ops


class WatchedKV:
    """Does what a `CodedKV` does, and tells who looked where.

    What attention makes of values that are unit vectors, each that of its
    token's column, is its weights in the order of the columns.

    Args:
        cache: `CodedKV`.
        length: Columns that are shown.
        tap: Called in `attend` with the weights, `(B, T, H, length)`.

    Attributes:
        kind: As in `ExactKV`.
        chunk: The same.
    """

    def __init__(self, cache, length, tap):
        self.cache = cache
        self.length = length
        self.tap = tap
        self.kind = ("watched", *cache.kind)
        self.chunk = cache.chunk
        self._watching = copy.copy(cache)
        self._watching.kind = self.kind  # no compiled function of the other's
        self._watching.codec = copy.copy(cache.codec)
        self._watching.codec.mix = self._by_column

    def create(self, batch):
        """As in `ExactKV`."""
        return self.cache.create(batch)

    def begin(self, column, pad, count):
        """As in `ExactKV`."""
        step = self.cache.begin(column, pad, count)
        return {**step, "columns": self._columns(column + count - 1, pad)}

    def append(self, state, key, value, step):
        """As in `ExactKV`."""
        return self.cache.append(state, key, value, step)

    def attend(self, query, state, step):
        """As in `ExactKV`."""
        units = ops.one_hot(step["columns"], self.length)[:, None]
        watched = {**state, "values": {"rows": units}}
        self.tap(self._watching.attend(query, watched, step))
        return self.cache.attend(query, state, step)

    def _columns(self, last, pad):
        """The columns that the exact part holds, `(B, sinks + ring)`."""
        sinks = pad[:, None] + ops.arange(self.cache.sinks, dtype="int32")
        ring = ops.arange(self.cache.ring, dtype="int32")
        ring = last - (last - ring) % self.cache.ring
        ring = ops.broadcast_to(ring[None], (pad.shape[0], self.cache.ring))
        return ops.concatenate([ops.cast(sinks, ring.dtype), ring], axis=-1)

    def _by_column(self, weights, packed):
        """Weights of coded tokens, which stand first and in order."""
        missing = self.length - weights.shape[-1]
        return ops.pad(weights, [(0, 0)] * 3 + [(0, missing)])
