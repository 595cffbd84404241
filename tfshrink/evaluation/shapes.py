"""What a decoder is made of, from its config alone: no weight is read."""

from tfshrink.layer_groups import group_names


def group_shapes(config):
    """The weights of every layer group.

    Args:
        config: `DecoderConfig`.

    Returns:
        Dict of group name, in model order, to a list with `(inputs,
        outputs)` of each member. A tied head is the embedding, listed once.
    """
    wide = config.heads * config.head_dim
    narrow = config.kv_heads * config.head_dim
    block = (
        [(config.width, wide), (config.width, narrow), (config.width, narrow)],
        [(wide, config.width)],
        [(config.width, config.hidden)] * (2 if config.gated else 1),
        [(config.hidden, config.width)],
    )
    outer = [(config.width, config.vocabulary)]
    members = list(block) * config.layers + [outer] * (1 if config.tied else 2)
    names = group_names(config.layers, config.tied)
    return dict(zip(names, members, strict=True))


def weights(shapes):
    """Number of weights in a list of `(inputs, outputs)`."""
    return sum(inputs * outputs for inputs, outputs in shapes)


def vector_parameters(config):
    """Number of parameters in norms and biases, which stay float32."""
    norm = config.width * (2 if config.norm == "layer" else 1)
    wide = config.heads * config.head_dim
    narrow = config.kv_heads * config.head_dim
    biases = 0
    if config.attention_bias:
        biases += wide + 2 * narrow
    if config.attention_out_bias:
        biases += config.width
    if config.mlp_bias:
        biases += config.hidden * (2 if config.gated else 1) + config.width
    return config.layers * (2 * norm + biases) + norm


def position_parameters(config):
    """Number of parameters in a table of learned positions."""
    learned = config.positions == "learned"
    return config.context * config.width if learned else 0


def parameters(config):
    """Number of parameters of the decoder; a tied head counts once."""
    matrices = sum(map(weights, group_shapes(config).values()))
    return matrices + position_parameters(config) + vector_parameters(config)
