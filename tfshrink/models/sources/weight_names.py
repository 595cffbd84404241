"""The canonical names and shapes of a decoder's weights.

V vocabulary, C width, K context, H heads, D head dim. Kernels are (inputs,
outputs), whatever the checkpoint's own layout.
"""

import numpy as np

from tfshrink.errors import UserError
from tfshrink.layer_groups import block_name
from tfshrink.layer_groups import ENCODER


def weight_shapes(config):
    """Returns the dict canonical name -> shape, in model order.

    Example:
        >>> weight_shapes(config)["block_00/attention/query/kernel"]
        (576, 576)
    """
    width = config.width
    shapes = {"embedding/table": (config.vocabulary, width)}
    if config.positions == "learned":
        shapes["positions/table"] = (config.context, width)
    for index in range(config.layers):
        block = block_name(index, config.layers)
        for name, shape in _block_shapes(config).items():
            shapes[f"{block}/{name}"] = shape
        if config.encoder_layers:
            for name, shape in _cross_shapes(config).items():
                shapes[f"{block}/{name}"] = shape
    for index in range(config.encoder_layers):
        for name, shape in _block_shapes(config).items():
            shapes[f"{ENCODER}{index:02d}/{name}"] = shape
    if config.encoder_layers:
        shapes |= _norm_shapes(f"{ENCODER}norm", config)
    shapes |= _norm_shapes("final_norm", config)
    if not config.tied:
        shapes["head/kernel"] = (width, config.vocabulary)
    return shapes


def _block_shapes(config):
    width, hidden = config.width, config.hidden
    shapes = _norm_shapes("attention_norm", config)
    shapes |= _attention_shapes("attention", config)
    shapes |= _norm_shapes("mlp_norm", config)
    if config.gated:
        shapes |= _dense_shapes("mlp/gate", width, hidden, config.mlp_bias)
    shapes |= _dense_shapes("mlp/up", width, hidden, config.mlp_bias)
    return shapes | _dense_shapes("mlp/down", hidden, width, config.mlp_bias)


def _cross_shapes(config):
    """Of attention to an encoder's states."""
    shapes = _norm_shapes("cross_norm", config)
    return shapes | _attention_shapes("cross", config)


def _attention_shapes(name, config):
    width = config.width
    queries = config.heads * config.head_dim
    keys = config.kv_heads * config.head_dim
    bias = config.attention_bias
    shapes = _dense_shapes(f"{name}/query", width, queries, bias)
    shapes |= _dense_shapes(f"{name}/key", width, keys, bias)
    shapes |= _dense_shapes(f"{name}/value", width, keys, bias)
    return shapes | _dense_shapes(
        f"{name}/output", queries, width, config.attention_out_bias
    )


def _norm_shapes(name, config):
    shapes = {f"{name}/scale": (config.width,)}
    if config.norm == "layer":
        shapes[f"{name}/bias"] = (config.width,)
    return shapes


def _dense_shapes(name, inputs, outputs, bias):
    shapes = {f"{name}/kernel": (inputs, outputs)}
    if bias:
        shapes[f"{name}/bias"] = (outputs,)
    return shapes


def split_name(name):
    """Splits a canonical name into block index (or None), module, leaf.

    Example:
        >>> split_name("block_07/mlp/up/kernel")
        (7, 'mlp/up', 'kernel')
    """
    module, _, leaf = name.rpartition("/")
    head, _, rest = module.partition("/")
    if head.startswith("block_"):
        return int(head.removeprefix("block_")), rest, leaf
    return None, module, leaf


def checked(name, array, shape, file):
    """Returns `array` as contiguous float32 once shape and values are sound.

    Args:
        name: The tensor's name, for the error.
        array: Any floating array.
        shape: The expected shape.
        file: The file it came from, for the error.

    Raises:
        UserError: The shape differs, or a value is not finite.
    """
    if tuple(array.shape) != tuple(shape):
        raise UserError(
            f"{file}: `{name}` must have shape {tuple(shape)} as (inputs, "
            f"outputs). Received: {tuple(array.shape)}"
        )
    array = np.ascontiguousarray(array, dtype=np.float32)
    # NaN wins both; no temporary of the size of the tensor is made.
    if not (np.isfinite(array.min()) and np.isfinite(array.max())):
        raise UserError(
            f"{file}: `{name}` must hold finite numbers. Received: NaN or "
            "infinity (a corrupt file?)"
        )
    return array
