"""Bytes of the container that ships, and the nominal bits beside them."""

from tfshrink.errors import UserError
from tfshrink.evaluation.shapes import encoder_weights
from tfshrink.evaluation.shapes import group_shapes
from tfshrink.evaluation.shapes import parameters
from tfshrink.evaluation.shapes import position_parameters
from tfshrink.evaluation.shapes import vector_parameters
from tfshrink.evaluation.shapes import weights

# Bits a code takes in the container.
STORED = {2: 2, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 8: 8, 16: 16, 32: 32}
FULL = 16  # from here on a bit-width means "not quantized"
GROUPED = 4  # from here down a plan's `group` applies
HALF, SINGLE = 2, 4  # bytes of a 16-bit and of a 32-bit value
CHANNEL = 12  # bytes of a channel's scale, and of its zero point (int64)


def stored_bits(bits, inputs, group):
    """Bits that one code takes in the file.

    Two bits are native per channel only, and only where the inputs come in
    fours; elsewhere they ship, exactly, as 4-bit codes.

    Args:
        bits: Bit-width of the plan.
        inputs: Inputs of the weight.
        group: Inputs per scale, or 0 for one scale per channel.
    """
    if bits == 2 and (group or inputs % 4):
        return STORED[4]
    return STORED[bits]


def weight_bytes(shape, bits, group=0):
    """Bytes of the codes and scales of one weight.

    Grouped scales are 16 bits; one per channel is float32, and LiteRT writes
    a zero point of 64 bits beside it.

    Args:
        shape: `(inputs, outputs)`.
        bits: Bit-width of the plan.
        group: Inputs per scale at 4 bits and below; 0 is per channel.

    Raises:
        UserError: The group does not divide the inputs.
    """
    inputs, outputs = shape
    group = group if bits <= GROUPED else 0
    if group and inputs % group:
        raise UserError(
            f"`group` must divide the {inputs} inputs of every quantized "
            f"weight. Received: group={group}"
        )
    codes = -(-inputs * outputs * stored_bits(bits, inputs, group) // 8)
    if bits >= FULL:
        return codes
    if group:
        return codes + outputs * (inputs // group) * HALF
    return codes + outputs * CHANNEL


def adapter_bytes(shape, rank):
    """Bytes of one adapter's two factors: 8 bits, one scale an output."""
    if not rank:
        return 0
    inputs, outputs = shape
    return rank * (inputs + outputs) + CHANNEL * (rank + outputs)


def adapter_ranks(precision):
    """Rank of the shipped adapter of each bit-width.

    Args:
        precision: `PrecisionConfig`, or `None`.

    Returns:
        A dict. It is empty where adapters are inside the quantizer: those
        are merged at export.
    """
    if precision is None or precision.placement == "inside":
        return {}
    return dict(zip(precision.widths, precision.ranks, strict=False))


def model_bytes(config, plan, ranks=None):
    """Bytes of the model that ships under a plan.

    Counts every code, scale, adapter of the plan's own bit-widths,
    embedding, norm and bias; an encoder at 16 bits. Heads and channels that a
    plan removes are not there; masks of unstructured pruning save nothing.

    Args:
        config: `DecoderConfig`.
        plan: `Plan`.
        ranks: Adapter rank by bit-width, as `adapter_ranks` returns it.
    """
    total = SINGLE * vector_parameters(config, plan)
    total += SINGLE * position_parameters(config)
    total += HALF * encoder_weights(config)
    return total + sum(group_bytes(config, plan, ranks).values())


def group_bytes(config, plan, ranks=None):
    """Bytes of the codes, scales and adapters of every layer group.

    Args:
        config: `DecoderConfig`.
        plan: `Plan`.
        ranks: Adapter rank by bit-width, as `adapter_ranks` returns it.

    Returns:
        Dict of group name, in model order, to bytes.
    """
    ranks, shapes, found = ranks or {}, group_shapes(config, plan), {}
    for name, bits in plan.as_dict().items():
        # Adapters stand beside the layers of the blocks alone.
        rank = ranks.get(bits, 0) if name.startswith("block_") else 0
        found[name] = sum(
            weight_bytes(shape, bits, plan.group) + adapter_bytes(shape, rank)
            for shape in shapes[name]
        )
    return found


def reference_bytes(config):
    """Bytes of the model with all parameters as 16-bit values."""
    return HALF * parameters(config)


def effective_bits(config, plan):
    """Nominal bits per weight that is left: the plan's, weighted by counts.

    An encoder, which no plan rounds, does not count.
    """
    counts = [weights(shapes) for shapes in group_shapes(config, plan).values()]
    pairs = zip(plan.bits, counts, strict=True)
    return sum(bits * count for bits, count in pairs) / sum(counts)
