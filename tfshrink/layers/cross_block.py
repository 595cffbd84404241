"""A decoder block that also attends to a source."""

from tfshrink.errors import UserError
from tfshrink.layers.block import Block
from tfshrink.layers.cross_attention import CrossAttention


class CrossBlock(Block):
    """Self-attention, attention to a source, and MLP.

    The source is not an argument of a call: it stays the same over a text,
    and whoever runs the block sets `memory` before (as
    `EncoderDecoder.remembering` does), so that all that drives a `Block`
    drives this one. Its projections belong to the layer groups
    `attention_in` and `attention_out`.

    Attributes:
        memory: `(keys, values, mask)`, as `CrossAttention` takes them.

    Args:
        config: As in `Block`.
        precision: As in `Block`.

    Returns:
        As `Block` does.

    Raises:
        UserError: There is no source to attend to.
    """

    def __init__(self, config, precision=None, **kwargs):
        super().__init__(config, precision, **kwargs)
        self.memory = None

    def build(self, input_shape):
        super().build(input_shape)
        self.cross_norm = self._norm("cross_norm", input_shape)
        self.cross = CrossAttention(
            self.config, self.precision, dtype=self.dtype_policy, name="cross"
        )
        self.cross.build(input_shape)

    def _remembered(self, x, bits):
        if self.memory is None:
            raise UserError(
                "`source` must be given: this model translates. Received: none"
            )
        own = self._before(self.cross_norm, x)
        out = self.cross(own, self.memory, bits)
        return self._joined(self.cross_norm, x, out)

    def groups(self):
        found, cross = super().groups(), self.cross
        found["attention_in"] += [cross.query, cross.key, cross.value]
        found["attention_out"] += [cross.output_dense]
        return found
