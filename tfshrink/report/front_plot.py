"""The plans of a search: what they cost and how much they leave."""

from tfshrink.report import theme
from tfshrink.report.chart import Chart
from tfshrink.report.line_chart import legend
from tfshrink.report.tip import Tip

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
    """Draws all judged plans, and the front among them, into a file.

    Args:
        rows: As `front_chart` takes them.
        chosen: The same.
        objectives: The same.
        path: PNG or SVG file.
    """
    front_chart(rows, chosen, objectives).save(path)


def front_chart(rows, chosen, objectives):
    """A figure of all judged plans, and of the front among them.

    Args:
        rows: Records of a search.
        chosen: Those on the front.
        objectives: One or two of what was made small; margin stands in for the
            second of one.

    Returns:
        `Chart`.
    """
    x, y = (*objectives, "margin" if objectives[0] != "margin" else "bytes")[:2]

    def plot(own, axes):
        (axis,) = axes
        tips = []
        for satisfied, color, marker, label in (
            (False, "line", "x", "violates"),
            (True, "c0", "o", "satisfies"),
        ):
            part = [row for row in rows if row["satisfied"] == satisfied]
            if part:
                points = _numbers(part, x), _numbers(part, y)
                color = theme.LIGHT[color]
                axis.scatter(
                    *points, s=13, c=color, marker=marker, label=label, lw=1
                )
                tips += _tips(axis, part, x, y)
        line = sorted(
            zip(_numbers(chosen, x), _numbers(chosen, y), strict=True)
        )
        if line:
            axis.plot(
                *zip(*line, strict=True),
                "D-",
                color=theme.LIGHT["c1"],
                label="front",
            )
            tips += _tips(axis, chosen, x, y)
        if y == "margin":
            axis.axhline(0.0, color=theme.LIGHT["ink"], lw=1.0)
        axis.set_xlabel(LABELS[x])
        axis.set_ylabel(LABELS[y])
        legend(own, axis)
        return tips

    caption = (
        f"All {len(rows)} judged plans, {LABELS[y]} over {LABELS[x]}: those "
        "that satisfy the requirement, and the front that no other beats."
    )
    return Chart(name="front", caption=caption, plot=plot)


def _numbers(rows, key):
    return [row[key] * SCALES.get(key, 1.0) for row in rows]


def _tips(axis, rows, x, y):
    places = zip(_numbers(rows, x), _numbers(rows, y), strict=True)
    return [
        Tip(axis, *place, _text(row, x, y, place))
        for row, place in zip(rows, places, strict=True)
    ]


def _text(row, x, y, place):
    name = row.get("name") or row.get("plan") or "plan"
    bits = row.get("effective_bits")
    first = name if bits is None else f"{name}, {bits:.2f} bits"
    word = "satisfied" if row["satisfied"] else "violated"
    values = [
        f"{LABELS[key]}: {value:.4g}"
        for key, value in zip((x, y), place, strict=True)
    ]
    return "\n".join([first, *values, word])
