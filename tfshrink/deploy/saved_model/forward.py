"""A decoder in plain TensorFlow operators, for any batch and any length.

Axes: B batch, T new tokens, S cached columns, H heads, K key/value heads, G =
H/K, D head width, C channels, V vocabulary.
"""

import tensorflow as tf

from tfshrink.layer_groups import block_name
from tfshrink.ops import rotary


def forward(decoder, weights, tokens, *, column=0, pad=None, cache=None):
    """Runs a decoder over new tokens.

    Args:
        decoder: `FrozenDecoder`, for its shape, norms and biases.
        weights: Name of each weight, as `FrozenDecoder.weights` has it, to what
            has its `product` and, the embedding, its `rows`.
        tokens: int32 `(B, T)`.
        column: Cache column of the first of them.
        pad: int32 `(B,)`: leading columns that are padding, or `None`.
        cache: float32 `(2, B, N, S, D)`, keys and values, the heads of all
            blocks behind one another; or `None`.

    Returns:
        `(states, cache)`: normalised states `(B, T, C)`, and the new cache.
    """
    config = decoder.config
    if pad is None:
        pad = tf.zeros(tf.shape(tokens)[:1], "int32")
    columns = column + tf.range(tf.shape(tokens)[1])
    positions = tf.maximum(columns - pad[:, None], 0)  # (B, T)
    places = columns if cache is None else tf.range(tf.shape(cache)[3])
    mask = (places <= columns[:, None]) & (places >= pad[:, None, None])
    x = weights["embedding"].rows(tokens)
    rotation = None
    if decoder.positions is not None:
        x = x + tf.gather(tf.constant(decoder.positions), positions)
    else:
        rotation = _rotation(config, positions)
    kept, start = [], 0
    for index, block in enumerate(decoder.blocks):
        stop = start + block.kv_heads
        own = None if cache is None else cache[:, :, start:stop]
        start = stop
        x, state = _block(
            config, block, index, weights, x, rotation, mask, own, column
        )
        kept.append(state)
    x = _norm(config, decoder.final_norm, x)
    return x, None if cache is None else tf.concat(kept, 2)


def head(decoder, weights, states):
    """Logits `(B, T, V)` of normalised states."""
    name = "embedding" if decoder.head is None else "head"
    return weights[name].product(states)


def _block(config, block, index, weights, x, rotation, mask, cache, column):
    name = block_name(index, config.layers)

    def dense(group, inputs):
        found = []
        for place, member in enumerate(block.groups[group]):
            out = weights[f"{name}/{group}/{place}"].product(inputs)
            found.append(out if member.bias is None else out + member.bias)
        return found

    projected = dense("attention_in", _norm(config, block.attention_norm, x))
    mixed, state = _attend(
        block, config.head_dim, projected, rotation, mask, cache, column
    )
    x = x + dense("attention_out", mixed)[0]
    first, *second = dense("mlp_in", _norm(config, block.mlp_norm, x))
    inner = ACTIVATIONS[config.activation](first)
    if second:
        inner = inner * second[0]
    return x + dense("mlp_out", inner)[0], state


def _attend(block, width, projected, rotation, mask, cache, column):
    """Attention `(B, T, H D)`, and the new cache of the block."""
    heads, kv = block.heads, block.kv_heads
    batch, count = tf.unstack(tf.shape(projected[0])[:2])
    counts = heads, kv, kv
    query, key, value = (
        tf.reshape(x, (batch, count, n, width))
        for x, n in zip(projected, counts, strict=True)
    )
    if rotation is not None:
        query, key = _rotate(query, rotation), _rotate(key, rotation)
    key, value = (tf.transpose(x, (0, 2, 1, 3)) for x in (key, value))
    state = None
    if cache is not None:
        key, value = (
            tf.concat([old[:, :, :column], new, old[:, :, column + count :]], 2)
            for old, new in ((cache[0], key), (cache[1], value))
        )
        state = tf.stack([key, value])
    shape = (batch, count, kv, heads // kv, width)
    query = tf.transpose(tf.reshape(query, shape), (0, 2, 3, 1, 4))
    scores = tf.matmul(query, key[:, :, None], transpose_b=True)
    scores = scores * width**-0.5
    scores = tf.where(mask[:, None, None], scores, -1e9)
    mixed = tf.matmul(tf.nn.softmax(scores), value[:, :, None])
    mixed = tf.transpose(mixed, (0, 3, 1, 2, 4))
    return tf.reshape(mixed, (batch, count, heads * width)), state


def _norm(config, norm, x):
    if config.norm == "layer":
        x = x - tf.reduce_mean(x, -1, keepdims=True)
    power = tf.reduce_mean(x * x, -1, keepdims=True)
    out = x * tf.math.rsqrt(power + config.norm_epsilon) * norm.scale
    return out if norm.bias is None else out + norm.bias


def _rotation(config, positions):
    """Cosines and sines `(B, T, 1, D)`."""
    inverse = rotary.frequencies(
        config.head_dim, config.rope_theta, config.rope_scaling
    )
    angles = tf.cast(positions, "float32")[..., None] * inverse
    angles = tf.concat([angles, angles], -1)[:, :, None]
    return tf.cos(angles), tf.sin(angles)


def _rotate(x, rotation):
    first, second = tf.split(x, 2, -1)
    turned = tf.concat([-second, first], -1)
    return x * rotation[0] + turned * rotation[1]


ACTIVATIONS = {
    "gelu": lambda x: tf.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: tf.nn.gelu(x, approximate=True),
    "relu": tf.nn.relu,
    "silu": tf.nn.silu,
}
