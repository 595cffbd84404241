"""What reads a token off a state in the middle of a decoder."""

import keras
from keras import ops

from tfshrink.backend import multiply_rows
from tfshrink.decoder_config import DecoderConfig
from tfshrink.layers.block import Block
from tfshrink.layers.exit_config import ExitConfig
from tfshrink.layers.norm import Norm


class ExitHead(keras.layers.Layer):
    """Turns states behind a block into what the final norm would give.

    Few blocks of its own may look at earlier tokens once more: in a small
    model copying from the text happens late, and a head without attention
    cannot make up for it.

    Args:
        config: `DecoderConfig`.
        exits: `ExitConfig`.

    Call arguments:
        x: States `(B, T, C)` behind the exit's block.
        rotation: As in `Block`.
        caches: One function for each of its blocks, as `Block` takes it;
            `None` without a cache.

    Returns:
        `(hidden, states)`: `(B, T, C)`, for the head, and the new cache
        states of its blocks.

    Reference: Liu et al., Kangaroo, 2404.18911 (an attention layer behind an
    early exit, as a draft).
    """

    def __init__(self, config, exits, **kwargs):
        kwargs["autocast"] = False  # the rotation stays float32
        super().__init__(**kwargs)
        if isinstance(config, dict):
            config = DecoderConfig.from_json(config)
        if isinstance(exits, dict):
            exits = ExitConfig.from_json(exits)
        self.config = config
        self.exits = exits
        self.turned = False  # `translate` stands the other way round

    def build(self, input_shape):
        config, policy = self.config, self.dtype_policy
        self.inner = [
            Block(config, dtype=policy, name=f"inner_{index}")
            for index in range(self.exits.blocks)
        ]
        for block in self.inner:
            block.build(input_shape)
        self.norm = Norm(
            config.norm, config.norm_epsilon, dtype=policy, name="norm"
        )
        self.norm.build(input_shape)
        shape = (config.width, config.width)
        self.translate = self.add_weight(
            name="translate", shape=shape, initializer="identity"
        )
        inner = self.exits.hidden
        self.narrow = self.add_weight(
            name="narrow", shape=(config.width, inner)
        )
        self.narrow_bias = self.add_weight(
            name="narrow_bias", shape=(inner,), initializer="zeros"
        )
        self.judge = self.add_weight(
            name="judge", shape=(inner, 1), initializer="zeros"
        )
        self.judge_bias = self.add_weight(
            name="judge_bias", shape=(1,), initializer="zeros"
        )

    def call(self, x, rotation=None, caches=None):
        states = []
        for index, block in enumerate(self.inner):
            own = caches and caches[index]
            x, state = block(x, None, rotation, cache=own)
            states.append(state)
        x, translate = self.norm(x), self._cast(self.translate)
        multiply = multiply_rows if self.turned else ops.matmul
        return multiply(x, translate), states

    def sure(self, hidden):
        """Logit `(...)` that the exit's token is the full model's, float32.

        Args:
            hidden: `(..., C)`, of a call.
        """
        inner = ops.matmul(_wide(hidden), _wide(self.narrow))
        inner = ops.relu(inner + _wide(self.narrow_bias))
        out = ops.matmul(inner, _wide(self.judge))
        return (out + _wide(self.judge_bias))[..., 0]

    def _cast(self, variable):
        return ops.cast(variable, self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "config": self.config.to_json(),
            "exits": self.exits.to_json(),
        }


def _wide(x):
    return ops.cast(x, "float32")
