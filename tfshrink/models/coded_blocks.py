"""Blocks of a decoder run over a text as they see it through a coded cache."""

import functools

from keras import ops

from tfshrink import backend
from tfshrink.layers.kv_cache import KVCache
from tfshrink.layers.watched_kv import WatchedKV
from tfshrink.models.block_forward import map_cosine
from tfshrink.ops import rotary


class CodedBlocks:
    """Runs blocks with the weights of a plan, keys and values coded.

    The cache and its steps are those of `streamed_hidden`, but each block reads
    the whole text before the next one begins: a plan that begins like another
    runs its end alone. One compiled function serves all blocks that share a
    codec.

    Args:
        forward: `BlockForward` of the model.
        codecs: `BlockCodecs`.
    """

    def __init__(self, forward, codecs):
        self.forward = forward
        self.codecs = codecs
        self._run = {}  # by codec

    @property
    def traces(self):
        """How often a block was traced."""
        return sum(one.traces for one in self._run.values())

    def block_and_cosine(self, index, x, maps, bits=None):
        """As of `BlockForward`; what a token looks at is behind the codec."""
        codec = self.codecs.codecs[index]
        if codec is None:
            return self.forward.block_and_cosine(index, x, maps, bits)
        if codec not in self._run:
            run = functools.partial(self._compared, index)
            self._run[codec] = backend.Compiled(run)
        return self._run[codec](*self.forward.arguments(index, x, bits), maps)

    def _compared(self, index, values, weights, x, bits, maps):
        with self.forward.as_block(values, weights) as block:
            out, shown = self._read(index, block, x, bits)
        return out, map_cosine(maps, ops.transpose(shown, (0, 2, 1, 3)))

    def _read(self, index, block, x, bits):
        """Output of a block `(B, T, C)`, and its attention `(B, T, H, T)`."""
        batch, length, width = x.shape
        model, seen = self.forward.model, []
        store = KVCache(model.config, length, model.compute_dtype, self.codecs)
        cache = WatchedKV(store.blocks[index], length, seen.append)
        store.blocks[index] = cache
        chunk = min(cache.chunk, length)
        count = -(-length // chunk)
        x = ops.pad(x, [(0, 0), (0, count * chunk - length), (0, 0)])
        pad = ops.zeros((batch,), "int32")

        def run(number, out, shown, state):
            start = number * chunk
            step = store.begin(start, pad, chunk)
            attend = functools.partial(
                store.attend, index=index, state=state, step=step
            )
            own = ops.slice(x, (0, start, 0), (batch, chunk, width))
            new, state = block(
                own, bits, self._rotation(start, chunk), cache=attend
            )
            out = ops.slice_update(out, (0, start, 0), new)
            shown = ops.slice_update(shown, (0, start, 0, 0), seen.pop())
            return number + 1, out, shown, state

        _, out, shown, _ = ops.while_loop(
            lambda number, *_: number < count,
            run,
            (
                ops.convert_to_tensor(0, "int32"),
                ops.zeros(x.shape, x.dtype),
                ops.zeros(
                    (batch, x.shape[1], model.config.heads, length), x.dtype
                ),
                cache.create(batch),
            ),
        )
        return out[:, :length], shown[:, :length]

    def _rotation(self, start, count):
        """RoPE of columns from `start` on, or `None`."""
        model = self.forward.model
        if model.config.positions != "rope":
            return None
        columns = start + ops.arange(count, dtype="int32")
        return rotary.tables(columns[None], model._inverse)
