"""Factors moved between layers without changing what a model computes.

The inputs of a layer group are divided by a factor each, in the norm or the
projection that makes them, and the rows of its kernels are multiplied by it.
"""

import numpy as np

# Groups whose inputs come from something linear (`mlp_out` where gated).
FOLDED = ("attention_in", "mlp_in", "mlp_out")


def foldable(block):
    """Names of the layer groups of a block whose inputs can be scaled."""
    names = list(FOLDED)
    if block.mlp.gate is None:
        names.remove("mlp_out")  # a nonlinearity lies between
    return names


def fold(block, group, scale, *, norms=True):
    """Sets the factors of one layer group; earlier ones are undone.

    Args:
        block: `Block`.
        group: One of `foldable(block)`.
        scale: Factors of the kernels' rows, `(inputs,)`.
        norms: Whether to divide the norm before the group; not where its
            values come from a checkpoint, which holds them divided.
    """
    members = block.groups()[group]
    scale = np.asarray(scale, "float32")
    known = members[0].fold
    change = scale if known is None else scale / known
    for member in members:
        _multiply(member.kernel, change[:, None])
        member.fold = scale
    if group == "mlp_out":
        _multiply(block.mlp.up.kernel, 1.0 / change)
        _multiply(block.mlp.up.bias, 1.0 / change)
    elif norms:
        first = group == "attention_in"
        norm = block.attention_norm if first else block.mlp_norm
        _multiply(norm.scale, 1.0 / change)
        _multiply(norm.bias, 1.0 / change)


def folds(model):
    """Name of each folded layer group to its factors."""
    found = {
        name: members[0].fold
        for block in model.blocks
        for name, members in _named(block)
    }
    return {name: scale for name, scale in found.items() if scale is not None}


def set_folds(model, wanted, *, norms=True):
    """Sets the factors of a whole model; a group not named gets none.

    Args:
        model: Built `Decoder`.
        wanted: As `folds` returns it.
        norms: As in `fold`.
    """
    for block in model.blocks:
        for name, members in _named(block):
            scale = wanted.get(name)
            if scale is None and members[0].fold is not None:
                scale = np.ones_like(members[0].fold)
            if scale is not None:
                fold(block, name.split("/")[1], scale, norms=norms)


def _named(block):
    groups = block.groups()
    return [(f"{block.name}/{name}", groups[name]) for name in foldable(block)]


def _multiply(variable, factor):
    if variable is not None:
        variable.assign(np.asarray(variable) * factor)
