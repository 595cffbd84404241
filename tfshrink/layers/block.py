"""One block of a decoder."""

import keras
from keras import ops

from tfshrink.decoder_config import DecoderConfig
from tfshrink.layers.attention import Attention
from tfshrink.layers.mlp import MLP
from tfshrink.layers.norm import Norm
from tfshrink.layers.precision_config import PrecisionConfig


class Block(keras.layers.Layer):
    """Attention and MLP, each beside a residual and with a norm.

    The norm stands in front of each, or behind the sum
    (`DecoderConfig.norm_first`).

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
        self.dropout = None  # of what is added to the states, while training
        self.order = {}  # of its heads and channels (`models.ordering`)

    def build(self, input_shape):
        config, policy = self.config, self.dtype_policy
        self.attention_norm = self._norm("attention_norm", input_shape)
        self.attention = Attention(
            config, self.precision, dtype=policy, name="attention"
        )
        self.attention.build(input_shape)
        self.mlp_norm = self._norm("mlp_norm", input_shape)
        self.mlp = MLP(config, self.precision, dtype=policy, name="mlp")
        self.mlp.build(input_shape)

    def _norm(self, name, input_shape):
        config, policy = self.config, self.dtype_policy
        layer = Norm(config.norm, config.norm_epsilon, dtype=policy, name=name)
        layer.build(input_shape)
        return layer

    def call(self, x, bits=None, rotation=None, visible=None, cache=None):
        x = ops.cast(x, self.compute_dtype)
        attention_bits = mlp_bits = None
        if bits is not None:
            bits = ops.convert_to_tensor(bits, "int32")
            attention_bits = (bits[0], bits[1])
            mlp_bits = (bits[2], bits[3])
        out, state = self.attention(
            self._before(self.attention_norm, x),
            attention_bits,
            rotation,
            visible,
            cache=cache,
        )
        x = self._joined(self.attention_norm, x, out)
        x = self._remembered(x, attention_bits)
        out = self.mlp(self._before(self.mlp_norm, x), mlp_bits)
        return self._joined(self.mlp_norm, x, out), state

    def _before(self, norm, x):
        """What a layer reads of the states `x`."""
        return norm(x) if self.config.norm_first else x

    def _joined(self, norm, x, out):
        """The states with what the layer made of them."""
        if self.dropout is not None:
            out = self.dropout(out)
        return x + out if self.config.norm_first else norm(x + out)

    def _remembered(self, x, bits):
        """States between attention and MLP, where more is to be attended."""
        return x

    def keys_and_values(self, x, bits=None):
        """What attention would keep of `x` `(B, T, C)`: `(keys, values)`.

        Args:
            x: States in front of the block.
            bits: Of its attention_in, as `SwitchableDense` takes them.
        """
        x = ops.cast(x, self.compute_dtype)
        x = self._before(self.attention_norm, x)
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
