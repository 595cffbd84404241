"""Quality of plans over their size."""

from tfshrink.report.line_chart import Line
from tfshrink.report.line_chart import line_chart


def plans_chart(groups, name="plans"):
    """A figure of the perplexity ratio of plans over their megabytes.

    Args:
        groups: Dict of a label (a run's, or the model's) to rows with `name`,
            `bytes` and `perplexity_ratio`, all of one model, judged on one
            text.
        name: Of the figure.

    Returns:
        `Chart`.
    """
    lines = []
    for label, rows in groups.items():
        rows = sorted(rows, key=lambda row: row["bytes"])
        lines.append(
            Line(
                label,
                [row["bytes"] / 1e6 for row in rows],
                [row["perplexity_ratio"] for row in rows],
                [_text(label, row) for row in rows],
                joined=False,
            )
        )
    ratios = [y for line in lines for y in line.y]
    return line_chart(
        name,
        "Perplexity of plans as a ratio to full precision, over their size.",
        lines,
        x_label="MB, everything that ships",
        y_label="perplexity ratio",
        at=1.0,
        log=max(ratios) > 5 * min(ratios) > 0,
    )


def _text(label, row):
    lines = [
        f"{label}, {row['name']}",
        f"{row['bytes'] / 1e6:.3g} MB",
        f"perplexity ratio {row['perplexity_ratio']:,.4g}",
    ]
    if row.get("token_accuracy") is not None:
        lines.append(f"accuracy {row['token_accuracy']:.2%}")
    return "\n".join(lines)
