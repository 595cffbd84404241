"""What a codec of keys and values does, whatever it does it with."""

import abc
import copy

from keras import ops


class KVCodec(abc.ABC):
    """Codes one block of tokens of one decoder block at a time.

    Attributes:
        rotated: Whether it codes keys after RoPE; else before.
        centre: `(H_kv, D)`: what is taken off each key before RoPE, where keys
            are coded after it; `None` is nothing.
        block: Tokens that are coded together.
        tables: Dict of arrays that scores and mixes depend on, or `None`.
        signature: What codecs have in common that differ in `tables` alone:
            one compiled function serves them all. `None` without `tables`.
        table_bytes: Bytes of what it needs beside, once for all sequences.
    """

    rotated = False
    centre = None
    signature = None
    tables = None
    block: int
    table_bytes = 0

    @abc.abstractmethod
    def encode(self, key, value):
        """Codes a block of tokens.

        Args:
            key: `(B, block, H_kv, D)` float32.
            value: Of the same shape.

        Returns:
            Dict of tensors `(B, 1, ...)`: what is kept, as it is stored.
        """

    @abc.abstractmethod
    def keys(self, packed, dtype):
        """Decodes keys.

        Args:
            packed: Dict of tensors `(B, n, ...)`: what n calls of `encode`
                kept.
            dtype: Compute type.

        Returns:
            `(B, n block, H_kv, D)`.
        """

    def scores(self, query, packed):
        """What queries make of the keys; a codec may have a shorter way.

        Args:
            query: `(B, H_kv, R, D)`.
            packed: As in `keys`.

        Returns:
            `(B, H_kv, R, n block)` in the type of `query`.
        """
        keys = self.keys(packed, query.dtype)
        return ops.matmul(query, ops.transpose(keys, (0, 2, 3, 1)))

    @abc.abstractmethod
    def mix(self, weights, packed):
        """What attention weights make of the values, without decoding them.

        Args:
            weights: `(B, H_kv, R, n block)`.
            packed: As in `keys`.

        Returns:
            `(B, H_kv, R, D)` in the type of `weights`.
        """

    def bound(self, tables):
        """The same codec with other tables, which may be traced."""
        own = copy.copy(self)
        own.tables = tables
        return own

    def create(self, batch, blocks, kv_heads, width):
        """Zeros of the shapes and types that `encode` returns.

        Args:
            batch: Sequences.
            blocks: Blocks of tokens.
            kv_heads: H_kv.
            width: Head width D.
        """
        empty = ops.zeros((1, self.block, kv_heads, width), "float32")
        return {
            name: ops.zeros((batch, blocks, *tuple(x.shape)[2:]), x.dtype)
            for name, x in self.encode(empty, empty).items()
        }
