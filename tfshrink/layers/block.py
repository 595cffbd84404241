"""One pre-norm decoder block."""

import keras
from keras import ops

from tfshrink.decoder_config import DecoderConfig
from tfshrink.layers.attention import Attention
from tfshrink.layers.mlp import MLP
from tfshrink.layers.norm import Norm
from tfshrink.layers.precision_config import PrecisionConfig


class Block(keras.layers.Layer):
    """Attention and MLP, each behind a norm and beside a residual.

    Args:
        config: `DecoderConfig`.
        precision: `PrecisionConfig` or `None`.

    Call arguments:
        x: `(B, T, C)`.
        bits: Integer tensor `(4,)`: attention_in, attention_out, mlp_in,
            mlp_out; or `(4, 2)`, of each the removed parts behind; or `None`
            for full precision.
        rotation, visible, cache: As in `Attention`.

    Returns:
        `(output, state)`: `(B, T, C)`, and the new cache state or `None`.
    """

    def __init__(self, config, precision=None, **kwargs):
        # The rotation stays float32 whatever the compute type.
        kwargs["autocast"] = False
        super().__init__(**kwargs)
        if isinstance(config, dict):
            config = DecoderConfig.from_json(config)
        if isinstance(precision, dict):
            precision = PrecisionConfig.from_json(precision)
        self.config = config
        self.precision = precision
        self.order = {}  # of its heads and channels (`models.ordering`)

    def build(self, input_shape):
        config, policy = self.config, self.dtype_policy

        def norm(name):
            layer = Norm(
                config.norm, config.norm_epsilon, dtype=policy, name=name
            )
            layer.build(input_shape)
            return layer

        self.attention_norm = norm("attention_norm")
        self.attention = Attention(
            config, self.precision, dtype=policy, name="attention"
        )
        self.attention.build(input_shape)
        self.mlp_norm = norm("mlp_norm")
        self.mlp = MLP(config, self.precision, dtype=policy, name="mlp")
        self.mlp.build(input_shape)

    def call(self, x, bits=None, rotation=None, visible=None, cache=None):
        x = ops.cast(x, self.compute_dtype)
        attention_bits = mlp_bits = None
        if bits is not None:
            bits = ops.convert_to_tensor(bits, "int32")
            attention_bits = (bits[0], bits[1])
            mlp_bits = (bits[2], bits[3])
        out, state = self.attention(
            self.attention_norm(x),
            attention_bits,
            rotation,
            visible,
            cache=cache,
        )
        x = x + out
        return x + self.mlp(self.mlp_norm(x), mlp_bits), state

    def keys_and_values(self, x, bits=None):
        """What attention would keep of `x` `(B, T, C)`: `(keys, values)`.

        Args:
            x: States in front of the block.
            bits: Of its attention_in, as `SwitchableDense` takes them.
        """
        x = self.attention_norm(ops.cast(x, self.compute_dtype))
        return self.attention.keys_and_values(x, bits)

    def groups(self):
        """Layer groups in model order: name to its dense members."""
        attention, mlp = self.attention, self.mlp
        inner = [mlp.up] if mlp.gate is None else [mlp.gate, mlp.up]
        return {
            "attention_in": [attention.query, attention.key, attention.value],
            "attention_out": [attention.output_dense],
            "mlp_in": inner,
            "mlp_out": [mlp.down],
        }

    def get_config(self):
        precision = self.precision
        return {
            **super().get_config(),
            "config": self.config.to_json(),
            "precision": precision and precision.to_json(),
        }
