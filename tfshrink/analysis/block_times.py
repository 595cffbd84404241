"""Seconds that each part of a decoder takes."""

import numpy as np
from keras import ops

from tfshrink.evaluation.speed import REPEATS
from tfshrink.evaluation.speed import spread
from tfshrink.evaluation.speed import timed
from tfshrink.layer_groups import block_name


def block_times(forward, tokens, bits=None, *, repeats=REPEATS):
    """Times embedding, blocks and head, one after the other.

    Each part is called alone, with what the part before it made; the weights
    of the plan are computed before.

    Args:
        forward: `BlockForward`.
        tokens: int32 `(B, T)`.
        bits: As `BlockForward` takes them.
        repeats: Calls that are timed; one before them is not.

    Returns:
        List of dicts in model order: `name` and the `spread` of its seconds.
    """
    layers = forward.model.config.layers
    parts = [("embedding", lambda x: forward.embed(tokens, bits))]
    for index in range(layers):
        parts.append((block_name(index, layers), _block(forward, index, bits)))
    parts.append(("head", lambda x: _logits(forward, x, bits)))
    x, rows = None, []
    for name, run in parts:
        seconds = timed(lambda run=run, x=x: _done(run(x)), repeats=repeats)
        rows.append({"name": name, **spread(seconds)})
        x = run(x)
    return rows


def _block(forward, index, bits):
    return lambda x: forward.block(index, x, bits)


def _logits(forward, x, bits):
    return ops.matmul(forward.finish(x, bits), forward.head(bits))


def _done(x):
    """Waits until a tensor is there, which one number of it tells."""
    np.asarray(ops.cast(x[..., :1, :1], "float32"))
