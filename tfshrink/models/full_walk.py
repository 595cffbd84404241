"""One token through all of a decoder."""

from keras import ops

from tfshrink.layers.kv_cache import KVCache
from tfshrink.models.walk import Walk


class FullWalk(Walk):
    """Takes tokens through every block, over a cache.

    Args:
        model: Built `Decoder`.
        codecs: `BlockCodecs` of the K/V cache, or `None`.
    """

    def __init__(self, model, codecs=None):
        self.model = model
        self.codecs = codecs

    def settings(self, total):
        """Nothing to set, however many tokens are to be made."""
        return {}

    def create(self, batch, length):
        """Returns the empty cache of `batch` sequences of `length` columns."""
        model = self.model
        dtype = model.compute_dtype
        store = KVCache(model.config, length, dtype, self.codecs)
        return store.create(batch)

    def chunk(self, cache):
        """Most tokens that `read` takes; `None` is any number."""
        return self._store(cache).chunk

    def read(self, tokens, cache, column, pad, bits):
        """Takes the tokens of a prompt through all blocks; the new cache."""
        store = self._store(cache)
        return self.model.hidden_cached(
            tokens, cache, column, pad, store, bits
        )[1]

    def next(self, token, cache, column, pad, bits, done, step, policy):
        """Takes one token of each sequence through all blocks.

        Args:
            token: int32 `(B,)`.
            cache: Of `create`, or of an earlier call.
            column: Scalar, where the token goes.
            pad: Integer `(B,)`: leading columns that are padding.
            bits: As `Decoder` takes them.
            done: Not looked at.
            step: Not looked at.
            policy: Not looked at.

        Returns:
            `(logits, depth, cache)`: `(B, V)`; int32 `(B,)`, the blocks that
            each ran; the new cache.
        """
        store, model = self._store(cache), self.model
        hidden, cache = model.hidden_cached(
            token[:, None], cache, column, pad, store, bits
        )
        depth = ops.full(token.shape, model.config.layers, "int32")
        return model.logits(hidden[:, 0], bits), depth, cache

    def _store(self, cache):
        return KVCache.of_state(self.model.config, cache, self.codecs)
