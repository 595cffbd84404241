"""The exact K/V cache: one small interface between attention and memory."""

import keras
from keras import ops


class KVCache:
    """A fixed-shape cache of keys and values for every block.

    The state is a list with one `(keys, values)` pair a block, each
    `(B, S, H_kv, D)`: plain tensors, so that a compiled loop can carry it.
    Keys are held *after* RoPE.

    Args:
        config: `DecoderConfig`.
        length: Cached length S, in tokens.
        dtype: Storage type.
    """

    def __init__(self, config, length, dtype="float32"):
        self.config = config
        self.length = length
        self.dtype = keras.backend.standardize_dtype(dtype)

    def create(self, batch):
        """Returns the empty state for `batch` sequences."""
        config = self.config
        shape = (batch, self.length, config.kv_heads, config.head_dim)
        return [
            (ops.zeros(shape, self.dtype), ops.zeros(shape, self.dtype))
            for _ in range(config.layers)
        ]

    def append(self, state, keys, values, column):
        """Writes `(B, T, H_kv, D)` at `column`.

        Returns:
            `(keys, values, state)`: all that is cached, to attend to, and
            the new state of this block.
        """
        start = (0, column, 0, 0)
        keys = ops.slice_update(state[0], start, ops.cast(keys, self.dtype))
        values = ops.slice_update(state[1], start, ops.cast(values, self.dtype))
        return keys, values, (keys, values)
