"""The K/V cache: one small interface between attention and memory."""

from keras import ops

from tfshrink.layers.exact_kv import ExactKV
from tfshrink.ops import attention


class KVCache:
    """A fixed-shape cache of keys and values for every block.

    Each block has a cache of its own (`ExactKV`, `CodedKV`) that can append
    and attend; neither the decoder nor its loop knows which. The state is a
    list with one nest of plain tensors a block, so that a compiled loop can
    carry it.

    Args:
        config: `DecoderConfig`.
        length: Cached length S, in tokens.
        dtype: Storage type of what is exact.
        codecs: `BlockCodecs`, or `None` to keep everything exact.

    Example:
        >>> store = KVCache(model.config, 64)
        >>> hidden, states = model.hidden_cached(
        ...     tokens, store.create(1), 0, pad, store
        ... )
    """

    def __init__(self, config, length, dtype="float32", codecs=None):
        self.config = config
        self.length = length
        self.codecs = codecs
        self.dtype = dtype
        if codecs is None:
            self.blocks = [ExactKV(config, length, dtype)] * config.layers
        else:
            self.blocks = codecs.caches(config, length, dtype)

    @classmethod
    def of_state(cls, config, state, codecs=None):
        """The cache that a state of `create` is of."""
        if codecs is not None:
            length = codecs.length_of(state)
            exact = [own[0] for own in state if isinstance(own, tuple)]
            dtype = exact[0].dtype if exact else "float32"
            return cls(config, length, dtype, codecs)
        keys, _ = state[0]
        return cls(config, keys.shape[2], keys.dtype)

    @property
    def chunk(self):
        """Most tokens of a step; `None` is any number."""
        return min((b.chunk for b in self.blocks if b.chunk), default=None)

    def create(self, batch):
        """Returns the empty state for `batch` sequences."""
        return [block.create(batch) for block in self.blocks]

    def begin(self, column, pad, count):
        """Returns what blocks of one kind share in a step: a dict by kind.

        Args:
            column: Scalar, the column of the first new token: all sequences
                grow in the same one.
            pad: Integer `(B,)`: leading columns that are padding.
            count: New tokens T.
        """
        kinds = {block.kind: block for block in self.blocks}
        return {
            kind: block.begin(column, pad, count)
            for kind, block in kinds.items()
        }

    def attend(self, query, key, value, rotation, *, index, state, step):
        """Appends new tokens in one block, and attends to all it holds.

        Args:
            query: `(B, T, H D)`.
            key: `(B, T, H_kv D)`.
            value: Of the same shape.
            rotation: `(cosine, sine)` of the new positions, or `None`.
            index: Number of the block.
            state: Its state.
            step: What `begin` returned.

        Returns:
            `(output, state)`: `(B, T, H D)`, and its new state.
        """
        block = self.blocks[index]
        width = self.config.head_dim
        query, key, value = attention.by_head(
            query, key, value, width, rotation
        )
        state = block.append(state, key, value, step[block.kind])
        out = block.attend(query, state, step[block.kind])
        wide = self.config.heads * width
        return ops.reshape(out, (-1, query.shape[1], wide)), state

    def append(self, key, value, rotation, *, index, state, step):
        """Appends new tokens in one block, and attends to nothing.

        Args:
            key: `(B, T, H_kv D)`.
            value: Of the same shape.
            rotation: As in `attend`.
            index: As in `attend`.
            state: As in `attend`.
            step: As in `attend`.

        Returns:
            The block's new state.
        """
        block = self.blocks[index]
        _, key, value = attention.by_head(
            key, key, value, self.config.head_dim, rotation
        )
        return block.append(state, key, value, step[block.kind])
