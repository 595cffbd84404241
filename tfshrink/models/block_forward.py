"""A decoder run block by block, at any plan and from any block on."""

import collections
import contextlib
import functools

import keras
import numpy as np
from keras import ops

from tfshrink import backend
from tfshrink.layer_groups import BLOCK_GROUPS
from tfshrink.models.effective_weights import as_resolved
from tfshrink.models.effective_weights import bits_beside
from tfshrink.models.effective_weights import resolved_values
from tfshrink.models.effective_weights import variables_as
from tfshrink.ops import rotary

COUNT = len(BLOCK_GROUPS)
WEIGHT_BYTES = 4 << 30  # of weights that plans have put in force
ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class BlockForward:
    """Runs blocks of a decoder with the weights of a plan.

    All blocks run through one compiled function, whose arguments are a block's
    weights, so thirty blocks cost one small compile. The weights that a layer
    group has at a bit-width are computed once and kept while there is room:
    another plan costs its forward pass and nothing else.

    Bits are arrays as `structure.plan_tensor` makes them, NumPy; `None` is
    full precision.

    Args:
        model: Built `Decoder`.
        length: Tokens of a sequence.
        weight_bytes: Room for computed weights, in bytes.

    Example:
        >>> forward = BlockForward(model, 64)
        >>> x = forward.embed(tokens, bits)
        >>> for index in range(model.config.layers):
        ...     x = forward.block(index, x, bits)
        >>> logits = ops.matmul(forward.finish(x, bits), forward.head(bits))
    """

    def __init__(self, model, length, *, weight_bytes=WEIGHT_BYTES):
        self.model = model
        self.weight_bytes = weight_bytes
        self._kept = collections.OrderedDict()
        self._kept_bytes = 0
        self._columns = ops.arange(length)[None]
        self._rotation = None
        if model.config.positions == "rope":
            self._rotation = rotary.tables(self._columns, model._inverse)
        self._resolve = [
            backend.Compiled(functools.partial(self._resolved_group, group))
            for group in range(COUNT)
        ]
        own = model.variables
        self._head = backend.Compiled(self._columns_of_head, own)
        self._embed = backend.Compiled(self._embedded, own)
        self._finish = backend.Compiled(self._finished, own)
        self._run = backend.Compiled(self.call)
        self._show = backend.Compiled(self._shown)
        self._compare = backend.Compiled(self._compared)

    @property
    def traces(self):
        """How often a block was traced."""
        compiled = self._run, self._show, self._compare
        return sum(one.traces for one in compiled)

    def embed(self, tokens, bits=None):
        """Embedded tokens `(B, T, C)`, of int32 `(B, T)`."""
        return self._embed(tokens, self._outer(bits))

    def block(self, index, x, bits=None):
        """Output `(B, T, C)` of a block, of its input."""
        return self._run(*self.arguments(index, x, bits))

    def block_and_maps(self, index, x, bits=None):
        """Output of a block, and its attention `(B, H, T, T)`."""
        return self._show(*self.arguments(index, x, bits))

    def block_and_cosine(self, index, x, maps, bits=None):
        """Output of a block, and how alike its attention is to another.

        Args:
            index: Number of the block.
            x: `(B, T, C)`.
            maps: Attention `(B, H, T, T)`.
            bits: As everywhere.

        Returns:
            `(output, cosine)`: `(B, T, C)`, and `(B, T)` the cosine of what
            each token looks at, all heads in one vector.
        """
        return self._compare(*self.arguments(index, x, bits), maps)

    def finish(self, x, bits=None):
        """Hidden states `(B, T, C)` as the head reads them."""
        return self._finish(x, self._outer(bits))

    def head(self, bits=None):
        """The head in force, `(C, V)`."""
        outer = self._outer(bits)
        return self._remembered(("head", outer), lambda: self._head(outer))

    def forget(self):
        """Drops computed weights, where the model's own have changed."""
        self._kept.clear()
        self._kept_bytes = 0

    def _outer(self, bits):
        """Only what lies outside of blocks decides: other bits are 16."""
        if bits is None:
            return None
        outer = np.full_like(bits, 16)
        outer[COUNT * self.model.config.layers :] = bits[
            COUNT * self.model.config.layers :
        ]
        return outer

    def arguments(self, index, x, bits=None):
        """What `call` takes to be a block: its variables and weights, bits."""
        block, own = self.model.blocks[index], None
        if bits is not None:
            own = bits[COUNT * index : COUNT * (index + 1)]
        weights = [
            self.weights(index, group, None if own is None else own[group])
            for group in range(COUNT)
        ]
        values = [v.value for v in block.variables]
        return values, weights, x, bits_beside(self.model, own)

    def weights(self, index, group, bits=None):
        """What the members of a layer group hold at a bit-width.

        Args:
            index: Number of the block.
            group: Number of the layer group in it.
            bits: Of that group alone, a scalar or a row, NumPy.

        Returns:
            For each member its kernel, in the compute type, and its bias where
            it has one.
        """
        members = list(self.model.blocks[index].groups().values())[group]
        values = [v.value for member in members for v in member.variables]
        return self._remembered(
            (index, group, bits), lambda: self._resolve[group](values, bits)
        )

    def _remembered(self, key, make):
        *key, bits = key
        key = (*key, None if bits is None else np.asarray(bits).tobytes())
        if key not in self._kept:
            self._kept[key] = value = make()
            self._kept_bytes += _bytes(value)
            while self._kept_bytes > self.weight_bytes and len(self._kept) > 1:
                _, old = self._kept.popitem(last=False)
                self._kept_bytes -= _bytes(old)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _members(self, group):
        """Members of a layer group of the first block, which serves all."""
        return list(self.model.blocks[0].groups().values())[group]

    def _resolved_group(self, group, values, bits):
        members = self._members(group)
        variables = [v for member in members for v in member.variables]
        with variables_as(zip(variables, values, strict=True)):
            return [resolved_values(layer, bits) for layer in members]

    def call(self, values, weights, x, bits=None):
        """The block that `arguments` describe, inside a compiled function."""
        with self.as_block(values, weights) as block:
            return block(x, bits, self._rotation)[0]

    @contextlib.contextmanager
    def as_block(self, values, weights):
        """The first block, as the one that `arguments` describe."""
        first, layers = self.model.blocks[0], []
        pairs = list(zip(first.variables, values, strict=True))
        for group, own in enumerate(weights):
            layers += self._members(group)
            for layer, tensors in zip(self._members(group), own, strict=True):
                variables = [layer.kernel, layer.bias][: len(tensors)]
                pairs += zip(variables, tensors, strict=True)
        with variables_as(pairs), as_resolved(layers):
            yield first

    def _shown(self, *arguments):
        attention, seen = self.model.blocks[0].attention, []
        attention.tap = seen.append
        try:
            out = self.call(*arguments)
        finally:
            attention.tap = None
        return out, seen[0]

    def _compared(self, *arguments):
        *arguments, reference = arguments
        out, maps = self._shown(*arguments)
        return out, map_cosine(reference, maps)

    def _embedded(self, tokens, bits):
        return self.model.embed(tokens, self._columns, bits)[0]

    def _finished(self, x, bits):
        return self.model.for_head(self.model.final_norm(x), bits)

    def _columns_of_head(self, bits):
        return ops.transpose(self.model.head_kernel(bits))


def map_cosine(reference, maps):
    """Cosine of what each token looks at, all heads in one vector.

    Args:
        reference: Attention `(B, H, T, S)`.
        maps: The same.

    Returns:
        `(B, T)` float32.
    """
    a, b = (ops.cast(x, "float32") for x in (reference, maps))

    def total(x):
        return ops.sum(x, axis=(1, 3))

    return total(a * b) / ops.sqrt(total(a * a) * total(b * b))


def _bytes(tensors):
    return sum(
        int(np.prod(x.shape))
        * ITEM_BYTES[keras.backend.standardize_dtype(x.dtype)]
        for x in keras.tree.flatten(tensors)
    )
