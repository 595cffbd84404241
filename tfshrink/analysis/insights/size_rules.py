"""Rules about where the bytes of a plan are, and the damage."""

from tfshrink.analysis.insights.figures import bit_rows
from tfshrink.analysis.insights.figures import compressed
from tfshrink.analysis.insights.figures import figure
from tfshrink.analysis.insights.figures import megabytes
from tfshrink.analysis.insights.figures import pair

EMBEDDING, ADAPTERS = 0.4, 1 / 3  # shares of a plan's bytes
GROUP = 0.2  # share of all damage


def bits_without_bytes(subject):
    """Fewer bits that save no bytes only cost quality."""
    rows = compressed(bit_rows(subject), "effective_bits")
    for low in sorted(rows, key=lambda row: row["effective_bits"]):
        for high in rows:
            fewer = low["effective_bits"] < high["effective_bits"]
            if fewer and low["bytes"] >= high["bytes"]:
                return {
                    "text": f"{low['name']} has fewer bits than "
                    f"{high['name']} and is no smaller: "
                    f"{megabytes(low['bytes'])} and {megabytes(high['bytes'])} "
                    "MB with scales, adapters and the codes that kernels know.",
                    "next": "Train with one scale per channel (--group=0) and "
                    f"smaller --ranks, or leave {low['name']} out.",
                    "figures": pair(low, high, "effective_bits bytes"),
                }
    return None


def embedding_dominates(subject):
    """A plan most of whose bytes lie outside of its blocks."""
    for row in bit_rows(subject):
        share = figure(row, "bit_map", "shares", "embedding")
        outer = [
            group["bits"]
            for group in figure(row, "bit_map", "groups") or []
            if not group["name"].startswith("block_")
        ]
        if share and share > EMBEDDING and outer and max(outer) > 4:
            return {
                "text": f"{share:.0%} of the bytes of {row['name']} are its "
                f"embedding and head, at {max(outer)} bits.",
                "next": "Give them 4 bits: embedding=4 behind --plan, such as "
                "--plan=4:embedding=4.",
                "figures": {
                    "plan": row["name"],
                    "embedding_share": share,
                    "embedding_bits": max(outer),
                },
            }
    return None


def adapters_dominate(subject):
    """A plan whose adapters weigh as much as what they mend."""
    for row in bit_rows(subject):
        share = figure(row, "bit_map", "shares", "adapters")
        if share and share > ADAPTERS:
            return {
                "text": f"{share:.0%} of the bytes of {row['name']} are "
                "adapters.",
                "next": "Train with smaller --ranks, or without (--ranks=0).",
                "figures": {"plan": row["name"], "adapter_share": share},
            }
    return None


def few_groups_mind(subject):
    """A layer group that does much of the damage deserves more bits."""
    found = figure(subject, "bits", "sensitivity", "widths") or []
    for row in sorted(found, key=lambda row: row["bits"]):
        top = row["groups"][0] if row["groups"] else None
        if top and top["share"] >= GROUP:
            return {
                "text": f"At {row['bits']} bits {top['name']} alone does "
                f"{top['share']:.0%} of the damage of all layer groups, "
                f"{top['kl']:.2e} nats.",
                "next": f"Keep {top['name']} at more bits in a plan.json.",
                "figures": {"bits": row["bits"], **top},
            }
    return None
