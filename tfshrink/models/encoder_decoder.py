"""The encoder-decoder of the original Transformer, pre- or post-norm."""

import contextlib

from keras import ops

from tfshrink.layer_groups import ENCODER
from tfshrink.layers.block import Block
from tfshrink.layers.cross_block import CrossBlock
from tfshrink.layers.norm import Norm
from tfshrink.models.decoder import Decoder


class EncoderDecoder(Decoder):
    """A `Decoder` whose blocks also attend to an encoded source.

    All that drives a decoder drives this one, exits included, inside
    `remembering`: a source is encoded once and stays the same over its target.
    Embedding, positions and width are shared by both halves. The encoder runs
    at full precision; bits are those of the decoder's groups.

    Args:
        config: `DecoderConfig` with `encoder_layers`.
        precision: As in `Decoder`.
        remat: As in `Decoder`.
        exits: As in `Decoder`: exits of the decoder.

    Call arguments:
        tokens: Integer `(B, T)`, the target as read: it begins with the start
            token.
        bits: As in `Decoder`.
        source: Integer `(B, S)`.
        source_mask: `(B, S)`, not 0 where there is a token.

    Returns:
        Logits `(B, T, V)`, float32.

    Reference: Vaswani et al., Attention Is All You Need, 1706.03762.
    """

    BLOCK = CrossBlock

    def __init__(
        self, config, precision=None, remat=False, exits=None, **kwargs
    ):
        super().__init__(config, precision, remat, exits, **kwargs)
        config, policy = self.config, self.dtype_policy
        self.encoder_blocks = [
            Block(config, dtype=policy, name=f"{ENCODER}{index:02d}")
            for index in range(config.encoder_layers)
        ]
        self.encoder_norm = Norm(
            config.norm,
            config.norm_epsilon,
            dtype=policy,
            name=f"{ENCODER}norm",
        )

    def build(self, input_shape=None):
        super().build(input_shape)
        shape = (None, None, self.config.width)
        for layer in [*self.encoder_blocks, self.encoder_norm]:
            layer.build(shape)

    def call(self, tokens, bits=None, *, source, source_mask):
        if bits is None and self.switch is not None:
            bits = self.switch.bits
        with self.remembering(self.remember(source, source_mask, bits)):
            return super().call(tokens, bits)

    def encode(self, source, source_mask, bits=None):
        """States of a source `(B, S, C)`, as in a call."""
        length = source.shape[1]
        x, rotation = self.embed(source, ops.arange(length)[None], bits)
        mask = ops.cast(source_mask, "bool")[:, None]
        visible = ops.repeat(mask, length, axis=1)
        for block in self.encoder_blocks:
            x, _ = block(x, None, rotation, visible)
        return self.encoder_norm(x)

    def remember(self, source, source_mask, bits=None):
        """Encodes a source for `remembering`.

        Args:
            source: As in a call.
            source_mask: As in a call.
            bits: As in a call.

        Returns:
            List, one a block of the decoder: keys and values `(B, H_kv, S,
            D)`, and the mask, boolean `(B, S)`.
        """
        bits = self._checked(bits)
        states = self.encode(source, source_mask, bits)
        mask = ops.cast(source_mask, "bool")
        return [
            (*block.cross.remember(states, self._bits_in(index, bits)), mask)
            for index, block in enumerate(self.blocks)
        ]

    def _bits_in(self, index, bits):
        return None if bits is None else bits[4 * index]

    @contextlib.contextmanager
    def remembering(self, memory):
        """The decoder's blocks attend to what `remember` returned."""
        self._remind(memory)
        try:
            yield
        finally:
            self._remind([None] * len(self.blocks))

    def _remind(self, memory):
        for block, own in zip(self.blocks, memory, strict=True):
            object.__setattr__(block, "memory", own)

    def stacked(self):
        return [*self.encoder_blocks, *self.blocks]
