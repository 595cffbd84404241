"""What a plan gives to which layers, and what that costs."""

from tfshrink.evaluation.shapes import group_shapes
from tfshrink.evaluation.shapes import weights
from tfshrink.evaluation.size import group_bytes
from tfshrink.evaluation.size import model_bytes


def bit_map(config, plan, ranks=None):
    """Bits, weights and bytes of every layer group of a plan.

    Args:
        config: `DecoderConfig`.
        plan: `Plan`.
        ranks: Adapter rank by bit-width, as `size.adapter_ranks` returns it.

    Returns:
        A dict: `groups`, a list of dicts in model order (`name`, `bits`,
        `weights`, `bytes`, of which `adapter_bytes`); `shares`, fractions of
        the model's bytes (`embedding`, which is the head's too where they are
        one, and `adapters`); `weights_by_bits`, the share of all weights at
        each bit-width.
    """
    shapes = group_shapes(config, plan)
    own, bare = (group_bytes(config, plan, r) for r in (ranks, None))
    rows = [
        {
            "name": name,
            "bits": bits,
            "weights": weights(shapes[name]),
            "bytes": own[name],
            "adapter_bytes": own[name] - bare[name],
        }
        for name, bits in plan.as_dict().items()
    ]
    total = model_bytes(config, plan, ranks)
    outside = [row for row in rows if not row["name"].startswith("block_")]
    return {
        "groups": rows,
        "shares": {
            "embedding": sum(row["bytes"] for row in outside) / total,
            "adapters": sum(row["adapter_bytes"] for row in rows) / total,
        },
        "weights_by_bits": _by_bits(rows),
    }


def _by_bits(rows):
    total = sum(row["weights"] for row in rows)
    found = {}
    for row in sorted(rows, key=lambda row: -row["bits"]):
        share = row["weights"] / total
        found[row["bits"]] = found.get(row["bits"], 0.0) + share
    return found
