"""Heads and MLP channels in another order, which changes nothing they compute.

What a plan removes is the last of them, so the least important go there. A
block keeps its order beside its weights, and a checkpoint saves it: weights
come from their source in the order of the source.
"""

import numpy as np

HEADS, CHANNELS = "heads", "channels"


def reorder(block, kind, order):
    """Puts the heads or the channels of a block in an order.

    Kernels, biases and what was folded into them move. Scales, codes and
    adapters do not: they are set, or loaded, afterwards.

    Args:
        block: `Block`.
        kind: `"heads"` (a key/value head takes the query heads that share it
            along) or `"channels"` (between the two layers of the MLP).
        order: For each place which head or channel of the source comes there,
            `(parts,)`.
    """
    order = np.asarray(order, "int32")
    known = block.order.get(kind, np.arange(len(order)))
    move = np.argsort(known)[order]  # from the places of now
    groups = block.groups()
    if kind == HEADS:
        before, (after,) = groups["attention_in"], groups["attention_out"]
    else:
        before, (after,) = groups["mlp_in"], groups["mlp_out"]
    for layer in before:
        layer.kernel.assign(_moved(layer.kernel, move, 1))
        if layer.bias is not None:
            layer.bias.assign(_moved(layer.bias, move, 0))
    after.kernel.assign(_moved(after.kernel, move, 0))
    if after.fold is not None:
        after.fold = _moved(after.fold, move, 0)
    block.order[kind] = order


def _moved(array, move, axis):
    """The parts of an axis, each as many units as there are, rearranged."""
    array = np.asarray(array)
    units = np.arange(array.shape[axis]).reshape(len(move), -1)
    return np.take(array, units[move].reshape(-1), axis=axis)


def orders(model):
    """Name such as `block_00/heads` to its order, where there is one."""
    return {
        f"{block.name}/{kind}": order
        for block in model.blocks
        for kind, order in block.order.items()
    }


def set_orders(model, wanted):
    """Sets the orders of a whole model; what is not named gets its source's.

    Args:
        model: Built `Decoder`.
        wanted: As `orders` returns it.
    """
    for block in model.blocks:
        for kind in (HEADS, CHANNELS):
            order = wanted.get(f"{block.name}/{kind}")
            if order is None and kind in block.order:
                order = np.arange(len(block.order[kind]))
            if order is not None:
                reorder(block, kind, order)
