"""How much of each block a plan leaves: whole heads and whole MLP channels.

What goes is always the last of them; `models.ordering` puts the least
important last.
"""

import math

import numpy as np

from tfshrink.layer_groups import BLOCK_GROUPS

UNIT = 32  # channels that go together where no scale says how many


def removed_parts(config, plan):
    """What a plan removes from each block, rounded to what can go.

    One head is a key/value head with the query heads that share it. Inputs that
    share a scale go together, and at least one part of each kind stays.

    Args:
        config: `DecoderConfig`.
        plan: `Plan`.

    Returns:
        A list of `(heads, channels)`, one a block.
    """
    shared = config.heads // config.kv_heads * config.head_dim
    units = (
        (plan.heads, config.kv_heads, _unit(plan.group, shared)),
        (
            plan.channels,
            config.hidden,
            plan.group or math.gcd(UNIT, config.hidden),
        ),
    )
    columns = []
    for levels, parts, unit in units:
        levels = np.asarray(levels or (0.0,) * plan.layers)
        wanted = np.rint(levels * parts / unit).astype(int)
        columns.append(unit * np.minimum(wanted, max(0, parts // unit - 1)))
    return [tuple(map(int, row)) for row in zip(*columns, strict=True)]


def _unit(group, width):
    """Fewest heads of `width` inputs whose inputs fill whole groups."""
    return group // math.gcd(group, width) if group else 1


def kept_parts(config, plan):
    """What is left: a list of `(kv_heads, channels)`, one a block."""
    return [
        (config.kv_heads - heads, config.hidden - channels)
        for heads, channels in removed_parts(config, plan)
    ]


def plan_tensor(config, plan):
    """What a `Decoder` is called with to be at a plan.

    Args:
        config: `DecoderConfig`.
        plan: `Plan`.

    Returns:
        int32 `(groups,)`, the bits of each layer group; where parts are removed
        `(groups, 2)`, beside the bits how many parts of its output; where
        weights are pruned `(groups, 3)`, behind those how many of its weights,
        as `ops.prune` counts them.
    """
    bits = np.asarray(plan.bits, "int32")
    if not plan.removes and not plan.pruning:
        return bits
    rows = np.stack([bits, np.zeros_like(bits)], 1)
    if plan.pruning:
        from tfshrink.ops.prune import WHOLE

        sign = -1 if plan.sparsity == "2:4" else 1
        pruned = sign * np.rint(WHOLE * np.asarray(plan.pruning))
        rows = np.append(rows, pruned.astype("int32")[:, None], axis=1)
    count = len(BLOCK_GROUPS)
    for index, (heads, channels) in enumerate(removed_parts(config, plan)):
        rows[count * index + BLOCK_GROUPS.index("attention_in"), 1] = heads
        rows[count * index + BLOCK_GROUPS.index("mlp_in"), 1] = channels
    return rows
