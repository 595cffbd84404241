"""What a plan costs: bytes, bits and arithmetic, in one dict."""

from tfshrink.evaluation.compute import compute_cost
from tfshrink.evaluation.size import effective_bits
from tfshrink.evaluation.size import model_bytes
from tfshrink.evaluation.size import reference_bytes


def plan_cost(config, plan, *, context=512, ranks=None):
    """Prices a plan without running it.

    Args:
        config: `DecoderConfig`.
        plan: `Plan`.
        context: Cached tokens that a token attends to.
        ranks: Adapter rank by bit-width (`size.adapter_ranks`).

    Returns:
        A dict of `effective_bits`, `bytes`, `compression` (against 16-bit
        weights) and, per token, `macs`, `bit_operations`, `scaled_flops`.

    Example:
        >>> plan_cost(source.config, Plan.parse("8", layers=30))["bytes"]
        135254784
    """
    size = model_bytes(config, plan, ranks)
    return {
        "effective_bits": effective_bits(config, plan),
        "bytes": size,
        "compression": reference_bytes(config) / size,
        **compute_cost(config, plan, context=context, ranks=ranks),
    }
