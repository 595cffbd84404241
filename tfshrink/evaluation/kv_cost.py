"""What a K/V cache costs, counted on its own state."""

import math

import keras

from tfshrink.kv_spec import KVSpec
from tfshrink.layers.kv_cache import KVCache

SIZES = {"bfloat16": 2, "float16": 2, "float32": 4, "int8": 1, "uint8": 1}


def kv_cost(config, plan, length, codecs):
    """Bytes of a plan's cache, of one sequence.

    Args:
        config: `DecoderConfig`.
        plan: `Plan` with a `kv`.
        length: Cached length in tokens.
        codecs: Its `BlockCodecs`, or `None`.

    Returns:
        A dict of `kv` (text), `kv_bytes` (the state, exact part and gains
        included), `kv_compression` (how many times smaller than 16 bits) and
        `kv_table_bytes` (bases, once for all sequences).
    """
    own = sum(block_state_bytes(config, length, codecs))
    whole = 4 * config.layers * config.kv_heads * config.head_dim * length
    return {
        "kv": str(KVSpec.from_json(plan.kv)),
        "kv_bytes": own,
        "kv_compression": whole / own,
        "kv_table_bytes": sum(
            codec.table_bytes
            for codec in (codecs.codecs if codecs else ())
            if codec is not None
        ),
    }


def block_state_bytes(config, length, codecs=None):
    """Bytes of the cache of each block, of one sequence: a list.

    Args:
        config: `DecoderConfig`.
        length: Cached length in tokens.
        codecs: `BlockCodecs`, or `None`.
    """
    store = KVCache(config, length, "bfloat16", codecs)
    return [state_bytes(own) for own in store.create(1)]


def state_bytes(state):
    """Bytes of all tensors of a cache state."""
    return sum(
        math.prod(x.shape) * SIZES[keras.backend.standardize_dtype(x.dtype)]
        for x in keras.tree.flatten(state)
    )
