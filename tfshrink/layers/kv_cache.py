"""The exact K/V cache: one small interface between attention and memory."""

import keras
import numpy as np
from keras import ops


class KVCache:
    """A fixed-shape cache of keys and values for every block.

    The state is a list with one `(keys, values)` pair a block, each
    `(B, H_kv, S, D)`: plain tensors, so that a compiled loop can carry it,
    in the order in which attention multiplies them. Keys are held *after*
    RoPE.

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
        shape = (batch, config.kv_heads, self.length, config.head_dim)
        return [
            (ops.zeros(shape, self.dtype), ops.zeros(shape, self.dtype))
            for _ in range(config.layers)
        ]

    def append(self, state, keys, values, column):
        """Writes `(B, T, H_kv, D)` at `column`.

        Returns:
            `(keys, values, state)`: all that is cached, `(B, H_kv, S, D)`,
            to attend to, and the new state of this block.
        """
        keys = self._write(state[0], keys, column)
        values = self._write(state[1], values, column)
        return keys, values, (keys, values)

    def _write(self, cached, new, column):
        new = ops.cast(ops.transpose(new, (0, 2, 1, 3)), self.dtype)
        batch, heads, length, width = new.shape
        if length > 1 or batch is None:
            return ops.slice_update(cached, (0, 0, column, 0), new)
        # A scatter writes in place, where TensorFlow copies for a slice.
        rows = np.indices((batch, heads), "int32").reshape(2, -1)
        column = ops.broadcast_to(ops.cast(column, "int32"), rows[0].shape)
        return ops.scatter_update(
            cached,
            ops.stack([*rows, column], axis=-1),  # (B * H_kv, 3)
            ops.reshape(new, (-1, width)),
        )
