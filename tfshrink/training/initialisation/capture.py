"""What goes into the dense layers of a block."""

import contextlib

import numpy as np
from keras import ops

from tfshrink.ops import rotary

ROWS = 8  # sequences run at once


def first_inputs(model, tokens):
    """Embedded tokens `(N, T, C)` as NumPy, in the compute type.

    Also returns the `(rotation, mask)` that every block needs.
    """
    length = tokens.shape[1]
    columns = ops.arange(length)
    mask = (columns[None, :] <= columns[:, None])[None]
    rotation = None
    if model.config.positions == "rope":
        rotation = rotary.tables(columns[None], model._inverse)
    parts = [
        np.asarray(
            ops.cast(model.embed(tokens[i : i + ROWS], columns[None])[0], "float32")
        )
        for i in range(0, len(tokens), ROWS)
    ]
    return np.concatenate(parts), (rotation, mask)


def run_block(block, states, context, bits=None):
    """Outputs of a block over all sequences.

    Args:
        block: `Block`.
        states: `(N, T, C)` float32, NumPy.
        context: `(rotation, mask)`.
        bits: Integers `(4,)`, or `None` for full precision.

    Returns:
        `(N, T, C)` float32, NumPy.
    """
    parts = []
    for start in range(0, len(states), ROWS):
        x = ops.cast(states[start : start + ROWS], block.compute_dtype)
        out, _ = block(x, bits, *context)
        parts.append(np.asarray(ops.cast(out, "float32")))
    return np.concatenate(parts)


def hessians(block, states, context, bits=None):
    """X^T X of the inputs of each layer group of a block.

    Args:
        block, states, context, bits: As in `run_block`.

    Returns:
        Group name to `(inputs, inputs)` float32, the mean over tokens.
    """
    totals = {}
    count = states.shape[0] * states.shape[1]
    for start in range(0, len(states), ROWS):
        x = ops.cast(states[start : start + ROWS], block.compute_dtype)
        with _tapped(block) as taps:
            block(x, bits, *context)
        for name, value in taps.items():
            value = ops.reshape(ops.cast(value[0], "float32"), (-1, value[0].shape[-1]))
            product = np.asarray(ops.matmul(ops.transpose(value), value))
            totals[name] = totals.get(name, 0.0) + product / count
    return totals


@contextlib.contextmanager
def _tapped(block):
    """Collects the inputs of the first member of each layer group."""
    groups = {name: members[0] for name, members in block.groups().items()}
    taps = {name: [] for name in groups}
    for name, member in groups.items():
        member.tap = taps[name].append
    try:
        yield taps
    finally:
        for member in groups.values():
            member.tap = None
