"""LayerNorm and RMSNorm under one name, computed in float32."""

import functools

import keras
from keras import ops

from tfshrink.errors import unknown_choice
from tfshrink.fusion import fuse
from tfshrink.ops.rows import row_sum

KINDS = ("layer", "rms")


class Norm(keras.layers.Layer):
    """Normalises the last axis.

    Args:
        kind: `"rms"` or `"layer"`.
        epsilon: Added to the variance.

    Call arguments:
        x: `(..., C)`.

    Returns:
        `(..., C)` in the compute type.
    """

    def __init__(self, kind="rms", epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        if kind not in KINDS:
            raise unknown_choice("kind", kind, KINDS)
        self.kind = kind
        self.epsilon = epsilon

    def build(self, input_shape):
        width = (input_shape[-1],)
        self.scale = self.add_weight(
            name="scale", shape=width, initializer="ones", autocast=False
        )
        self.bias = None
        if self.kind == "layer":
            self.bias = self.add_weight(
                name="bias", shape=width, initializer="zeros", autocast=False
            )

    def call(self, x):
        normalize = fuse(_normalizer(self.kind, self.epsilon))
        weights = [self.scale] if self.bias is None else [self.scale, self.bias]
        return ops.cast(normalize(x, *weights), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "kind": self.kind,
            "epsilon": self.epsilon,
        }


@functools.cache
def _normalizer(kind, epsilon):
    """The function of a kind of norm, one object for all layers."""

    def normalize(x, scale, bias=None):
        wide, width = ops.cast(x, "float32"), x.shape[-1]
        if kind == "layer":
            wide = wide - row_sum(wide) / width
        power = row_sum(wide * wide) / width
        out = wide * ops.rsqrt(power + epsilon) * scale
        return ops.cast(out if bias is None else out + bias, x.dtype)

    return normalize
