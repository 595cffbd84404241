"""What a decoder is made of, from its config alone: no weight is read."""

from tfshrink.layer_groups import group_names
from tfshrink.structure import kept_parts


def group_shapes(config, plan=None):
    """The weights of every layer group.

    Args:
        config: `DecoderConfig`.
        plan: `Plan` whose removed heads and channels do not count.

    Returns:
        Dict of group name, in model order, to a list with `(inputs,
        outputs)` of each member. A tied head is the embedding, listed once.
        Attention to an encoder's states goes with that to earlier tokens; the
        encoder is in no group.
    """
    members, width = [], config.width
    cross = [], []
    if config.encoder_layers:
        cross = _attention(config, *block_widths(config)[0][:2])
    for wide, narrow, hidden in block_widths(config, plan):
        own = _attention(config, wide, narrow)
        members += [
            *[a + b for a, b in zip(own, cross, strict=True)],
            [(width, hidden)] * (2 if config.gated else 1),
            [(hidden, width)],
        ]
    members += [[(width, config.vocabulary)]] * (1 if config.tied else 2)
    names = group_names(config.layers, config.tied)
    return dict(zip(names, members, strict=True))


def _attention(config, wide, narrow):
    """Weights in front of attention, and behind it."""
    width = config.width
    return [(width, wide), (width, narrow), (width, narrow)], [(wide, width)]


def block_widths(config, plan=None):
    """Widths inside of each block: all queries, all keys, MLP channels."""
    whole = (config.kv_heads, config.hidden)
    kept = kept_parts(config, plan) if plan else [whole] * config.layers
    shared = config.heads // config.kv_heads
    return [
        (shared * heads * config.head_dim, heads * config.head_dim, channels)
        for heads, channels in kept
    ]


def weights(shapes):
    """Number of weights in a list of `(inputs, outputs)`."""
    return sum(inputs * outputs for inputs, outputs in shapes)


def vector_parameters(config, plan=None):
    """Number of parameters in norms and biases, which stay float32."""
    norm = config.width * (2 if config.norm == "layer" else 1)
    whole = block_widths(config)[0]
    total = norm + sum(
        _vectors(config, norm, *own) for own in block_widths(config, plan)
    )
    if config.encoder_layers:
        cross = norm + _attention_biases(config, *whole[:2])
        total += config.layers * cross
        total += norm + config.encoder_layers * _vectors(config, norm, *whole)
    return total


def _vectors(config, norm, wide, narrow, hidden):
    """Norms and biases of a block without attention to an encoder."""
    total = 2 * norm + _attention_biases(config, wide, narrow)
    if config.mlp_bias:
        total += hidden * (2 if config.gated else 1) + config.width
    return total


def _attention_biases(config, wide, narrow):
    inner = wide + 2 * narrow if config.attention_bias else 0
    return inner + (config.width if config.attention_out_bias else 0)


def encoder_weights(config):
    """Number of weights in an encoder, which no plan rounds."""
    wide, narrow, hidden = block_widths(config)[0]
    before, behind = _attention(config, wide, narrow)
    inner = (3 if config.gated else 2) * hidden * config.width
    return config.encoder_layers * (weights(before + behind) + inner)


def position_parameters(config):
    """Number of parameters in a table of learned positions."""
    learned = config.positions == "learned"
    return config.context * config.width if learned else 0


def parameters(config):
    """Number of parameters of the model; a tied head counts once."""
    matrices = sum(map(weights, group_shapes(config).values()))
    matrices += encoder_weights(config)
    return matrices + position_parameters(config) + vector_parameters(config)
