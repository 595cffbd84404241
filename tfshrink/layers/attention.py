"""Self-attention of a decoder block."""

import keras
from keras import ops

from tfshrink.decoder_config import DecoderConfig
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.layers.switchable_dense import project
from tfshrink.layers.switchable_dense import SwitchableDense
from tfshrink.ops import attention


class Attention(keras.layers.Layer):
    """Grouped-query attention over switchable projections.

    Args:
        config: `DecoderConfig`.
        precision: `PrecisionConfig` or `None`.

    Call arguments:
        x: `(B, T, C)`.
        bits: `(in_bits, out_bits)`, as `SwitchableDense` takes them, or
            `None`.
        rotation: `(cosine, sine)` of this step's positions, or `None`.
        visible: Boolean `(B or 1, T, S)`, without a cache; `None` means that
            a token sees itself and those before it.
        cache: Function of this step's queries, keys and values, heads side by
            side, and of `rotation` to what attention makes of all that is
            cached and the new state (`KVCache.attend` of a block), or `None`.

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
        self.tap = None  # called with the attention while judging

    def build(self, input_shape):
        config = self.config

        def dense(name, units, bias, inputs, parts=0):
            layer = SwitchableDense(
                units,
                bias,
                self.precision,
                parts,
                dtype=self.dtype_policy,
                name=name,
            )
            layer.build((None, None, inputs))
            return layer

        wide = config.heads * config.head_dim
        narrow = config.kv_heads * config.head_dim
        bias = config.attention_bias
        # A key/value head goes with the queries that share it.
        own = bias, config.width, config.kv_heads
        self.query = dense("query", wide, *own)
        self.key = dense("key", narrow, *own)
        self.value = dense("value", narrow, *own)
        self.output_dense = dense(
            "output", config.width, config.attention_out_bias, wide
        )

    def call(self, x, bits=None, rotation=None, visible=None, cache=None):
        in_bits, out_bits = (None, None) if bits is None else bits
        flat = project([self.query, self.key, self.value], x, in_bits)
        width, state = self.config.head_dim, None
        if self.tap is not None:
            out, maps = attention.causal_maps(*flat, width, rotation)
            self.tap(maps)
        elif cache is not None:
            out, state = cache(*flat, rotation)
        elif visible is None:
            out = attention.attend_causal(*flat, width, rotation)
        else:
            query, key, value = attention.by_head(*flat, width, rotation)
            out = attention.attend(query, key, value, visible)
            wide = self.config.heads * width
            out = ops.reshape(out, (-1, x.shape[1], wide))
        return self.output_dense(out, bits=out_bits), state

    def keys_and_values(self, x, bits=None):
        """Keys and values `(B, T, H_kv D)` of normalised states `x`."""
        return tuple(project([self.key, self.value], x, bits))

    def get_config(self):
        precision = self.precision
        return {
            **super().get_config(),
            "config": self.config.to_json(),
            "precision": precision and precision.to_json(),
        }
