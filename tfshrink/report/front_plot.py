"""The plans of a search: what they cost and how much they leave."""

from tfshrink.report.figure import figure

LABELS = {
    "bytes": "MB",
    "kv_bytes": "MB of the K/V cache",
    "memory": "MB of weights and K/V cache",
    "read_bytes": "MB that a token reads",
    "scaled_flops": "TOGGLE's cost, MFLOPs a token",
    "bit_operations": "10⁹ bit-operations a token",
    "latency": "ms a token",
    "margin": "margin of the worst prompt",
    "kl": "mean divergence, nats",
    "perplexity": "perplexity of the prompts",
}
SCALES = {
    "bytes": 1e-6,
    "kv_bytes": 1e-6,
    "memory": 1e-6,
    "read_bytes": 1e-6,
    "scaled_flops": 1e-6,
    "bit_operations": 1e-9,
    "latency": 1e3,
}


def draw_front(rows, chosen, objectives, path):
    """Draws all judged plans, and the front among them.

    Args:
        rows: Records of a search.
        chosen: Those on the front.
        objectives: One or two of what was made small; margin stands in for the
            second of one.
        path: PNG or SVG file.
    """
    x, y = (*objectives, "margin" if objectives[0] != "margin" else "bytes")[:2]
    with figure(path) as (_, (axis,)):
        for satisfied, color, label in (
            (False, "tab:gray", "violates the requirement"),
            (True, "tab:blue", "satisfies it"),
        ):
            part = [row for row in rows if row["satisfied"] == satisfied]
            if part:
                points = _numbers(part, x), _numbers(part, y)
                axis.scatter(*points, s=9, alpha=0.5, color=color, label=label)
        line = sorted(
            zip(_numbers(chosen, x), _numbers(chosen, y), strict=True)
        )
        if line:
            axis.plot(*zip(*line, strict=True), "o-", color="tab:red", ms=4)
        if y == "margin":
            axis.axhline(0.0, color="black", lw=0.8, ls=":")
        axis.set_xlabel(LABELS[x])
        axis.set_ylabel(LABELS[y])
        if rows:
            axis.legend(frameon=False)


def _numbers(rows, key):
    return [row[key] * SCALES.get(key, 1.0) for row in rows]
