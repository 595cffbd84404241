"""Reductions over the last axis in an order that vectorizes."""

from keras import ops

LANES = 64


def row_sum(x):
    """Sum over the last axis, which is kept: `(..., C)` to `(..., 1)`.

    XLA adds a row up on a CPU one number after the other; sums over an outer
    axis run in parallel lanes, so a row is folded first.
    """
    return ops.sum(_folded(x, ops.sum), axis=-1, keepdims=True)


def row_max(x):
    """Largest value of the last axis, which is kept."""
    return ops.max(_folded(x, ops.max), axis=-1, keepdims=True)


def _folded(x, reduce):
    width = x.shape[-1]
    if width % LANES or width == LANES:
        return x
    return reduce(
        ops.reshape(x, (*x.shape[:-1], width // LANES, LANES)), axis=-2
    )
