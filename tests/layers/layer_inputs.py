"""Small configs and random weights that layer and model tests share."""

import numpy as np

from tfshrink.decoder_config import DecoderConfig
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.ops.quantize import WIDTHS

LLAMA = DecoderConfig(
    vocabulary=32,
    width=16,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=4,
    hidden=24,
    context=12,
    name="llama",
)
GPT2 = DecoderConfig(
    vocabulary=32,
    width=16,
    layers=2,
    heads=2,
    kv_heads=2,
    head_dim=8,
    hidden=24,
    context=12,
    norm="layer",
    positions="learned",
    activation="gelu_tanh",
    gated=False,
    attention_bias=True,
    attention_out_bias=True,
    mlp_bias=True,
    tied=False,
    name="gpt2",
)


def precision(**changes):
    """Three trained widths, groups of 8, small adapters."""
    values = {"widths": (8, 4, 2), "group": 8, "ranks": (1, 2, 4), **changes}
    return PrecisionConfig(**values)


def randomize(layer, seed=0, size=0.3):
    """Gives every floating weight random values, norms near 1."""
    random = np.random.default_rng(seed)
    for variable in layer.variables:
        if "float" not in str(variable.dtype):
            continue
        values = size * random.normal(size=variable.shape)
        if variable.path.endswith("norm/scale"):
            values = values + 1
        if variable.path.endswith("_scales"):
            values = values - 2  # logarithms
        variable.assign(values.astype("float32"))
    return layer


def fit(*layers, method="rtn"):
    """Fits the scales and codes of dense layers to their kernels."""
    for layer in layers:
        layer.quantizer.fit(layer.kernel, WIDTHS, method=method)
