"""Arithmetic of one token under a plan, as counts."""

from tfshrink.evaluation.shapes import block_widths
from tfshrink.evaluation.shapes import group_shapes
from tfshrink.evaluation.shapes import weights

FLOAT = 16  # bits of an operand that is not quantized


def attention_macs(config, context, plan=None):
    """MACs of scores and weighted values over `context` cached tokens.

    A decoder that attends to a source meets as many tokens of it.
    """
    wide = sum(wide for wide, _, _ in block_widths(config, plan))
    if config.encoder_layers:
        wide += sum(wide for wide, _, _ in block_widths(config))
    return 2 * wide * context


def matrix_macs(config, ranks, plan):
    """MACs a token in each layer group, without and within adapters.

    Args:
        config: `DecoderConfig`.
        ranks: Adapter rank by bit-width.
        plan: `Plan`.

    Yields:
        `(bits, macs, adapter_macs)` of each layer group. Looking up an
        embedding multiplies nothing; a tied head does.
    """
    for (name, shapes), bits in zip(
        group_shapes(config, plan).items(), plan.bits, strict=True
    ):
        if name == "embedding" and not config.tied:
            yield bits, 0, 0
            continue
        rank = ranks.get(bits, 0) if name.startswith("block_") else 0
        yield bits, weights(shapes), rank * sum(i + o for i, o in shapes)


def compute_cost(config, plan, *, context, ranks=None):
    """MACs, bit-operations and TOGGLE's cost of one token.

    Of an encoder-decoder: of one token of the target with one of the source,
    whose keys and values are made for it, the encoder aside.

    Args:
        config: `DecoderConfig`.
        plan: `Plan`.
        context: Cached tokens that the token attends to.
        ranks: Adapter rank by bit-width.

    Returns:
        A dict, each per token: `macs`; `bit_operations`, the sum of MACs
        times the bits of both operands (16 where one is not quantized);
        `scaled_flops`, FLOPs times bits / 16 times what pruning keeps.

    Reference: TOGGLE, arXiv:2512.16855, for the scaled FLOPs.
    """
    kept = [1.0 - level for level in plan.pruning or (0,) * len(plan.bits)]
    inputs = plan.activations or FLOAT
    attention = attention_macs(config, context, plan)
    macs, operations = attention, attention * FLOAT * FLOAT
    flops = 2.0 * attention
    groups = matrix_macs(config, ranks or {}, plan)
    for keep, (bits, own, extra) in zip(kept, groups, strict=True):
        bits = min(bits, FLOAT)
        macs += own + extra
        operations += own * bits * inputs + extra * FLOAT * FLOAT
        flops += 2.0 * (own * keep * bits / FLOAT + extra)
    return {
        "macs": macs,
        "bit_operations": operations,
        "scaled_flops": flops,
    }
