"""A block's keys and values, kept as they are."""

import keras
import numpy as np
from keras import ops

from tfshrink.backend import by_xla
from tfshrink.ops import attention


class ExactKV:
    """One block's share of a cache, without loss.

    The state is a pair `(keys, values)`, each `(B, H_kv, S, D)`, in the order
    in which attention multiplies them; keys after RoPE.

    Args:
        config: `DecoderConfig`.
        length: Cached length S, in tokens.
        dtype: Storage type.

    Attributes:
        kind: Blocks of one kind share what `begin` returns.
        chunk: Most tokens of a step; `None` is any number.
    """

    kind = "exact"
    chunk = None

    def __init__(self, config, length, dtype="float32"):
        self.config = config
        self.length = length
        self.dtype = keras.backend.standardize_dtype(dtype)

    def create(self, batch):
        """Returns the empty state for `batch` sequences."""
        config = self.config
        shape = (batch, config.kv_heads, self.length, config.head_dim)
        return ops.zeros(shape, self.dtype), ops.zeros(shape, self.dtype)

    def begin(self, column, pad, count):
        """Returns what all blocks of a step share.

        Args:
            column: Scalar, the column of the first new token.
            pad: Integer `(B,)`: leading columns that are padding.
            count: New tokens T.
        """
        columns = column + ops.arange(count)
        places = ops.arange(self.length)
        visible = (places[None, None, :] <= columns[None, :, None]) & (
            places[None, None, :] >= pad[:, None, None]
        )
        return {"column": column, "visible": visible}

    def append(self, state, key, value, step):
        """Writes the new tokens' keys and values.

        Args:
            state: Of `create`, or of an earlier call.
            key: `(B, T, H_kv, D)`, after RoPE.
            value: Of the same shape.
            step: What `begin` returned.

        Returns:
            The new state.
        """
        keys, values = state
        column = step["column"]
        return (
            self._write(keys, key, column),
            self._write(values, value, column),
        )

    def attend(self, query, state, step):
        """Attention of new tokens to all that is cached.

        Args:
            query: `(B, T, H, D)`, after RoPE.
            state: Of `append`.
            step: What `begin` returned.

        Returns:
            `(B, T, H, D)`.
        """
        return attention.attend_cached(query, *state, step["visible"])

    def _write(self, cached, new, column):
        new = ops.cast(ops.transpose(new, (0, 2, 1, 3)), self.dtype)
        batch, heads, length, width = new.shape
        if length > 1 or batch is None or by_xla():
            return ops.slice_update(cached, (0, 0, column, 0), new)
        # A scatter writes in place, where TensorFlow copies for a slice; XLA
        # writes slices in place, and scatters in a loop.
        rows = np.indices((batch, heads), "int32").reshape(2, -1)
        column = ops.broadcast_to(ops.cast(column, "int32"), rows[0].shape)
        return ops.scatter_update(
            cached,
            ops.stack([*rows, column], axis=-1),  # (B * H_kv, 3)
            ops.reshape(new, (-1, width)),
        )
