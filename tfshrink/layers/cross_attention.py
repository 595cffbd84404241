"""Attention of a decoder's tokens to what an encoder made."""

import keras
from keras import ops

from tfshrink.decoder_config import DecoderConfig
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.layers.switchable_dense import project
from tfshrink.layers.switchable_dense import SwitchableDense
from tfshrink.ops import attention


class CrossAttention(keras.layers.Layer):
    """Queries of target tokens meet keys and values of a source.

    Args:
        config: `DecoderConfig`; the encoder is as wide.
        precision: `PrecisionConfig` or `None`.

    Call arguments:
        x: `(B, T, C)`.
        memory: `(keys, values, mask)` of `remember`, and the source's mask.
        bits: `(in_bits, out_bits)`, as `SwitchableDense` takes them, or
            `None`. Keys and values have the bits of the queries.

    Returns:
        `(B, T, C)`.

    Reference: Vaswani et al., Attention Is All You Need, 1706.03762, 3.2.3.
    """

    def __init__(self, config, precision=None, **kwargs):
        super().__init__(**kwargs)
        if isinstance(config, dict):
            config = DecoderConfig.from_json(config)
        if isinstance(precision, dict):
            precision = PrecisionConfig.from_json(precision)
        self.config = config
        self.precision = precision

    def build(self, input_shape):
        config = self.config

        def dense(name, units, bias, inputs):
            layer = SwitchableDense(
                units,
                bias,
                self.precision,
                dtype=self.dtype_policy,
                name=name,
            )
            layer.build((None, None, inputs))
            return layer

        wide = config.heads * config.head_dim
        narrow = config.kv_heads * config.head_dim
        bias = config.attention_bias
        self.query = dense("query", wide, bias, config.width)
        self.key = dense("key", narrow, bias, config.width)
        self.value = dense("value", narrow, bias, config.width)
        self.output_dense = dense(
            "output", config.width, config.attention_out_bias, wide
        )

    def remember(self, states, bits=None):
        """Keys and values of a source, which all its targets share.

        Args:
            states: `(B, S, C)`, of an encoder.
            bits: As `SwitchableDense` takes them, or `None`.

        Returns:
            `(keys, values)`: `(B, H_kv, S, D)`, as a cache lays them out.
        """
        width = self.config.head_dim

        def by_head(flat):
            shape = (-1, flat.shape[1], flat.shape[2] // width, width)
            return ops.transpose(ops.reshape(flat, shape), (0, 2, 1, 3))

        flat = project([self.key, self.value], states, bits)
        return tuple(by_head(x) for x in flat)

    def call(self, x, memory, bits=None):
        in_bits, out_bits = (None, None) if bits is None else bits
        keys, values, mask = memory
        config = self.config
        (query,) = project([self.query], x, in_bits)
        shape = (-1, x.shape[1], config.heads, config.head_dim)
        visible = ops.repeat(mask[:, None], x.shape[1], axis=1)
        out = attention.attend_cached(
            ops.reshape(query, shape), keys, values, visible
        )
        wide = config.heads * config.head_dim
        out = ops.reshape(out, (-1, x.shape[1], wide))
        return self.output_dense(out, bits=out_bits)

    def get_config(self):
        precision = self.precision
        return {
            **super().get_config(),
            "config": self.config.to_json(),
            "precision": precision and precision.to_json(),
        }
