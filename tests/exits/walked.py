"""Tokens of a text taken through generation's own walk, one after the other."""

import keras
import numpy as np
from keras import ops

from tests.test_case import to_numpy
from tfshrink.backend import Compiled
from tfshrink.models.generation import walk_of


def walked(model, spec, row, *, bits=None, codecs=None, total=None):
    """What generation makes of each token of a row, whatever it would draw.

    Args:
        model: Built `Decoder` with exits.
        spec: `ExitSpec`, or `None`.
        row: Token list.
        bits: As `Decoder` takes them.
        codecs: `BlockCodecs`, or `None`.
        total: Tokens that are to be made; default: those of the row.

    Returns:
        `(logits, depths)`: `(T, V)` and `(T,)`.
    """
    walk = walk_of(model, spec, codecs)
    policy = keras.tree.map_structure(
        ops.convert_to_tensor, walk.settings(total or len(row))
    )
    cache = walk.create(1, 64)
    pad, done = np.zeros(1, "int32"), np.zeros(1, "bool")

    def next_(token, cache, column, bits, policy):
        return walk.next(token, cache, column, pad, bits, done, column, policy)

    run = Compiled(next_, model.variables)
    found = []
    for column, token in enumerate(row):
        token = np.array([token], "int32")
        logits, depth, cache = run(token, cache, np.int32(column), bits, policy)
        found.append((to_numpy(logits)[0], int(to_numpy(depth)[0])))
    logits, depths = zip(*found, strict=True)
    return np.stack(logits), np.array(depths)
