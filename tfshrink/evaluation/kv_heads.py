"""Keys and values of a text, head by head, in blocks along time."""

import collections

import numpy as np
from keras import ops

from tfshrink.layers.switchable_dense import project
from tfshrink.ops import rotary

KINDS = {
    "keys": "keys without RoPE",
    "rotated_keys": "keys with RoPE",
    "values": "values",
}
SINKS = 4  # first tokens, which no codec touches


def kv_heads(model, tokens):
    """Keys and values of a text, block of the model by block.

    Args:
        model: A built `Decoder`, run in full precision.
        tokens: Integer `(N, T)`.

    Yields:
        For each block a dict of `KINDS` to `(N, T, H_kv, D)` float32 arrays;
        keys after RoPE only where the model has that.
    """
    config = model.config
    columns = np.arange(tokens.shape[1])[None]
    hidden, rotation = [], None
    for row in tokens:
        x, rotation = model.embed(ops.convert_to_tensor(row[None]), columns)
        hidden.append(x)

    def by_head(x):
        return ops.reshape(x, (*x.shape[:2], config.kv_heads, config.head_dim))

    for block in model.blocks:
        seen = collections.defaultdict(list)
        layer = block.attention
        members = [layer.query, layer.key, layer.value]
        for place, x in enumerate(hidden):
            _, key, value = project(members, block.attention_norm(x), None)
            key = by_head(key)
            seen["keys"].append(key)
            if rotation is not None:
                seen["rotated_keys"].append(rotary.rotate(key, *rotation))
            seen["values"].append(by_head(value))
            hidden[place] = block(x, None, rotation)[0]
        yield {
            kind: ops.convert_to_numpy(ops.cast(ops.concatenate(x), "float32"))
            for kind, x in seen.items()
        }


def standardised(x):
    """Channels of `(H, N, T, D)` with mean 0 and variance 1 over N and T."""
    x = x - x.mean(axis=(1, 2), keepdims=True)
    deviation = x.std(axis=(1, 2), keepdims=True)
    return x / np.where(deviation > 0, deviation, 1.0)


def blocks_of(x, block):
    """`(N, T, D)` as `(M, block, D)`; what fills no block is left out."""
    count = x.shape[1] // block
    return x[:, : count * block].reshape(-1, block, x.shape[2])
