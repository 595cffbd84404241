"""The weights a plan puts in force, computed once instead of in every call."""

import contextlib

import keras
from keras import ops
from keras.src.backend.common import stateless_scope


def effective_weights(model, bits=None):
    """Computes the weights that are in force at `bits`.

    A generation loop calls the model hundreds of times with the same bits:
    here it quantizes, adds adapters and casts once.

    Args:
        model: A built `Decoder`.
        bits: Integer tensor `(groups,)`, or `None`.

    Returns:
        Dict of variable paths to tensors in the compute type. Under
        `weights_in_force` a call without bits gives what a call with `bits`
        gives.
    """
    pairs = []
    for index, members in enumerate(model.groups().values()):
        own = None if bits is None else bits[index]
        for layer in members:
            pairs += _pairs(layer, own)
    return {variable.path: value for variable, value in pairs}


def can_resolve(model, bits):
    """Whether `effective_weights` can express `bits`.

    Quantized activations are no weights: they need the bits in every call.
    """
    return bits is None or not model.precision.activations


@contextlib.contextmanager
def weights_in_force(model, weights):
    """Lets the tensors of `effective_weights` stand for the variables."""
    outer = stateless_scope.get_stateless_scope()
    with keras.StatelessScope(initialize_variables=False) as scope:
        # Not through the constructor: it would cast back to float32.
        scope.state_mapping.update(outer.state_mapping if outer else {})
        for variable in model.variables:
            if variable.path in weights:
                scope.state_mapping[id(variable)] = weights[variable.path]
        yield


def _pairs(layer, bits):
    table = getattr(layer, "table", None)
    if table is not None:
        return [(table, layer.head(bits))]
    side = layer.has_side_adapter(bits)
    delta = layer.adapters.delta(bits) if side else None
    pairs = [(layer.kernel, layer.kernel_at(bits, delta))]
    if layer.bias is not None:
        pairs.append((layer.bias, ops.cast(layer.bias, layer.compute_dtype)))
    return pairs
