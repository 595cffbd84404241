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
    """
    members, width = [], config.width
    for wide, narrow, hidden in block_widths(config, plan):
        members += [
            [(width, wide), (width, narrow), (width, narrow)],
            [(wide, width)],
            [(width, hidden)] * (2 if config.gated else 1),
            [(hidden, width)],
        ]
    members += [[(width, config.vocabulary)]] * (1 if config.tied else 2)
    names = group_names(config.layers, config.tied)
    return dict(zip(names, members, strict=True))


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
    total = norm
    for wide, narrow, hidden in block_widths(config, plan):
        total += 2 * norm
        if config.attention_bias:
            total += wide + 2 * narrow
        if config.attention_out_bias:
            total += config.width
        if config.mlp_bias:
            total += hidden * (2 if config.gated else 1) + config.width
    return total


def position_parameters(config):
    """Number of parameters in a table of learned positions."""
    learned = config.positions == "learned"
    return config.context * config.width if learned else 0


def parameters(config):
    """Number of parameters of the decoder; a tied head counts once."""
    matrices = sum(map(weights, group_shapes(config).values()))
    return matrices + position_parameters(config) + vector_parameters(config)
