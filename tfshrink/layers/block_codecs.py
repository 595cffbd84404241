"""Which block of a decoder keeps its keys and values how."""

from tfshrink.layers.coded_kv import CodedKV
from tfshrink.layers.exact_kv import ExactKV
from tfshrink.layers.parallel_kv import ParallelKV


class BlockCodecs:
    """One codec a block, and what stays exact beside it.

    Args:
        codecs: List of `KVCodec`, or `None` where a block keeps everything.
        window: Last tokens that stay exact, at least.
        sinks: First tokens that stay exact.
        dtype: Storage type of these; `"int8"` has a scale a row.
    """

    def __init__(self, codecs, *, window=64, sinks=4, dtype="bfloat16"):
        self.codecs = list(codecs)
        self.window = window
        self.sinks = sinks
        self.dtype = dtype

    @property
    def chunk(self):
        """Most tokens of a step; `None` is any number."""
        caches = [self._coded(None, 1, codec) for codec in self._used]
        return min((cache.chunk for cache in caches), default=None)

    def caches(self, config, length, dtype):
        """The caches of all blocks.

        Args:
            config: `DecoderConfig`.
            length: Cached length S, in tokens.
            dtype: Storage type of blocks without a codec.
        """
        exact = ExactKV(config, length, dtype)
        return [
            self._coded(config, length, codec) if codec else exact
            for codec in self.codecs
        ]

    def parallel(self, config, index):
        """What a block attends to a whole text with; `None` is exactly.

        Args:
            config: `DecoderConfig`.
            index: Number of the block.
        """
        codec = self.codecs[index]
        return codec and ParallelKV(self._coded(config, 1, codec))

    def length_of(self, state):
        """A cached length whose state has the shapes of this one."""
        for codec, own in zip(self.codecs, state, strict=True):
            if codec is None:
                return own[0].shape[2]
        packed = state[0].get("packed")
        blocks = next(iter(packed.values())).shape[1] if packed else 0
        return blocks * self.codecs[0].block + self.window + 1

    @property
    def _used(self):
        return [codec for codec in self.codecs if codec is not None]

    def _coded(self, config, length, codec):
        return CodedKV(
            config,
            length,
            codec,
            window=self.window,
            sinks=self.sinks,
            dtype=self.dtype,
        )
