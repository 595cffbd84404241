"""The feed-forward half of a decoder block."""

import functools

import keras
from keras import ops

from tfshrink.decoder_config import DecoderConfig
from tfshrink.errors import unknown_choice
from tfshrink.fusion import fuse
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.layers.switchable_dense import project
from tfshrink.layers.switchable_dense import SwitchableDense

ACTIVATIONS = {
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "gelu_tanh": lambda x: ops.gelu(x, approximate=True),
    "relu": ops.relu,
    "silu": ops.silu,
}


class MLP(keras.layers.Layer):
    """Two or, gated, three switchable projections around an activation.

    Args:
        config: `DecoderConfig`.
        precision: `PrecisionConfig` or `None`.

    Call arguments:
        x: `(B, T, C)`.
        bits: `(in_bits, out_bits)`, as `SwitchableDense` takes them, or
            `None`.

    Returns:
        `(B, T, C)`.
    """

    def __init__(self, config, precision=None, **kwargs):
        super().__init__(**kwargs)
        if isinstance(config, dict):
            config = DecoderConfig.from_json(config)
        if isinstance(precision, dict):
            precision = PrecisionConfig.from_json(precision)
        if config.activation not in ACTIVATIONS:
            raise unknown_choice("activation", config.activation, ACTIVATIONS)
        self.config = config
        self.precision = precision

    def build(self, input_shape):
        config = self.config

        def dense(name, units, inputs, parts=0):
            layer = SwitchableDense(
                units,
                config.mlp_bias,
                self.precision,
                parts,
                dtype=self.dtype_policy,
                name=name,
            )
            layer.build((None, None, inputs))
            return layer

        self.gate = None
        if config.gated:
            self.gate = dense(
                "gate", config.hidden, config.width, config.hidden
            )
        self.up = dense("up", config.hidden, config.width, config.hidden)
        self.down = dense("down", config.width, config.hidden)

    def call(self, x, bits=None):
        in_bits, out_bits = (None, None) if bits is None else bits
        layers = [self.up] if self.gate is None else [self.gate, self.up]
        activate = fuse(_activation(self.config.activation))
        inner = activate(*project(layers, x, in_bits))
        return self.down(inner, bits=out_bits)

    def compute_output_shape(self, input_shape, bits=None):
        return input_shape

    def get_config(self):
        precision = self.precision
        return {
            **super().get_config(),
            "config": self.config.to_json(),
            "precision": precision and precision.to_json(),
        }


@functools.cache
def _activation(name):
    """The activation, times a second argument where there is one."""

    def activate(x, up=None):
        # In float32: the fused kernel widens each bfloat16 step otherwise.
        out = ACTIVATIONS[name](ops.cast(x, "float32"))
        if up is not None:
            out = out * ops.cast(up, "float32")
        return ops.cast(out, x.dtype)

    return activate
