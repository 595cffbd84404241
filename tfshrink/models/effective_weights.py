"""The weights a plan puts in force, computed once instead of in every call."""

import contextlib

import keras
from keras import ops
from keras.src.backend.common import stateless_scope

from tfshrink import backend
from tfshrink.layers.removal import split
from tfshrink.layers.removal import without

MEMORY = "memory"  # among weights: what an encoder made of the sources


class EffectiveWeights:
    """Computes the weights that are in force at the bits of a plan.

    A generation loop calls the model hundreds of times with the same bits:
    here it quantizes, adds adapters and casts once. Blocks are alike, so one
    compiled function, whose arguments are a block's variables, serves all.

    Args:
        model: A built `Decoder`. Its weights are read anew in every call.
        turned: Whether kernels are `(units, inputs)`, as `multiply_rows`
            wants them.

    Call arguments:
        bits: As `Decoder` takes them.

    Returns:
        Dict of variable paths to tensors in the compute type. Under
        `weights_in_force` a call with `bits_beside` gives what a call with
        `bits` gives.
    """

    def __init__(self, model, *, turned=False):
        self.model = model
        self.turned = turned
        self._block = backend.Compiled(self._of_first_block)
        self._outer = backend.Compiled(self._of_outer, model.variables)

    @property
    def traces(self):
        """How often the function of all blocks was traced."""
        return self._block.traces

    def __call__(self, bits=None):
        found, start = {}, 0
        for block in self.model.blocks:
            stop = start + len(block.groups())
            own = None if bits is None else bits[start:stop]
            values = self._block([v.value for v in block.variables], own)
            found.update(_named(_members(block), values))
            start = stop
        values = self._outer(None if bits is None else bits[start:])
        found.update(_named(self._outer_layers(), values))
        return {**found, **self._of_exits()}

    def _of_exits(self):
        """Matrices of the exits, which have no bits, in the compute type.

        But for those of the classifiers, which work in float32.
        """
        dtype, found = self.model.compute_dtype, {}
        kernels = {id(x) for x in _turned_of_exits(self.model)}
        wide = {
            id(x) for h in self.model.exit_heads for x in (h.narrow, h.judge)
        }
        for variable in self.model.exit_variables:
            if id(variable) in wide:
                continue
            turned = self.turned and id(variable) in kernels
            if len(variable.shape) == 2 and (turned or dtype != variable.dtype):
                value = ops.cast(variable, dtype)
                found[variable.path] = ops.transpose(value) if turned else value
        return found

    def _of_first_block(self, values, bits):
        first = self.model.blocks[0]
        with variables_as(zip(first.variables, values, strict=True)):
            groups = first.groups().values()
            return [
                self._resolved(layer, None if bits is None else bits[index])
                for index, members in enumerate(groups)
                for layer in members
            ]

    def _of_outer(self, bits):
        return [
            self._resolved(layer, None if bits is None else bits[index])
            for index, layer in enumerate(self._outer_layers())
        ]

    def _resolved(self, layer, bits):
        values = resolved_values(layer, bits)
        if self.turned and not hasattr(layer, "table"):
            values[0] = ops.transpose(values[0])
        return values

    def _outer_layers(self):
        """Embedding and head, each a group of its own where not tied."""
        layers = self.model.embedding, self.model.head
        return [layer for layer in layers if layer is not None]


def bits_beside(model, bits):
    """What calls need beside the weights of `EffectiveWeights`.

    Quantized activations are no weights: they need the bits in every call.
    """
    if bits is None or not model.precision.activations:
        return None
    return bits


@contextlib.contextmanager
def weights_in_force(model, weights, *, turned=False):
    """Lets the tensors of `EffectiveWeights` stand for the variables.

    With `MEMORY` among them the blocks attend to it.

    Args:
        model: Built `Decoder`.
        weights: Dict of variable paths to tensors.
        turned: As in `EffectiveWeights`.
    """
    pairs = [
        (variable, weights[variable.path])
        for variable in model.variables
        if variable.path in weights
    ]
    layers = [layer for own in model.groups().values() for layer in own]
    memory = contextlib.nullcontext()
    if MEMORY in weights:
        memory = model.remembering(weights[MEMORY])
    inner = as_turned(model, layers) if turned else contextlib.nullcontext()
    with variables_as(pairs), as_resolved(layers if pairs else []), inner:
        with memory:
            yield


@contextlib.contextmanager
def as_resolved(layers):
    """Layers take what stands for their weights as it is."""
    with _set("resolved", layers):
        yield


@contextlib.contextmanager
def as_turned(model, layers):
    """Kernels of layers, and of a model's exits, are `(units, inputs)`."""
    own = [*layers, *model.exit_heads, *_dense_of_exits(model)]
    with _set("turned", [x for x in own if hasattr(x, "turned")]):
        yield


@contextlib.contextmanager
def _set(name, layers):
    for layer in layers:
        setattr(layer, name, True)
    try:
        yield
    finally:
        for layer in layers:
            setattr(layer, name, False)


def _dense_of_exits(model):
    return [
        layer
        for head in model.exit_heads
        for block in head.inner
        for layer in _members(block)
    ]


def _turned_of_exits(model):
    """Kernels of exits that `as_turned` expects the other way round."""
    kernels = [layer.kernel for layer in _dense_of_exits(model)]
    return kernels + [head.translate for head in model.exit_heads]


@contextlib.contextmanager
def variables_as(pairs):
    """Lets tensors stand for variables, in whatever type they are."""
    outer = stateless_scope.get_stateless_scope()
    with keras.StatelessScope(initialize_variables=False) as scope:
        # Not through the constructor: it would cast back to float32.
        scope.state_mapping.update(outer.state_mapping if outer else {})
        scope.state_mapping.update({id(v): value for v, value in pairs})
        yield


def _members(block):
    """The dense layers of a block, in the order of its groups."""
    return [layer for own in block.groups().values() for layer in own]


def resolved_values(layer, bits):
    """What takes the place of a layer's own variables at a bit-width."""
    if hasattr(layer, "table"):
        return [layer.head(split(bits)[0])]
    bits, removed, pruned = split(bits)
    # Rounded inputs meet factors that are rounded too: those stay beside.
    side = layer.has_side_adapter(bits) and not layer.precision.activations
    delta = layer.adapters.delta(bits) if side else None
    values = [layer.kernel_at(bits, delta, pruned)]
    if layer.bias is not None:
        values.append(ops.cast(layer.bias, layer.compute_dtype))
    if removed is None or not layer.parts:
        return values
    return [without(value, layer.parts, removed) for value in values]


def _named(layers, values):
    """Path to tensor, for the variables that `resolved_values` stands for."""
    named = {}
    for layer, own in zip(layers, values, strict=True):
        if hasattr(layer, "table"):
            variables = [layer.table]
        else:
            variables = [layer.kernel, layer.bias][: len(own)]
        for variable, value in zip(variables, own, strict=True):
            named[variable.path] = value
    return named
