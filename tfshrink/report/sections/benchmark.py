"""Figures of a script of benchmarks/, or of another suite: rows of numbers."""

import numbers

from tfshrink.report.bar_chart import rank_chart
from tfshrink.report.section import Section
from tfshrink.report.section import Table

SPEED = "tokens_per_second"
NAMES = ("side", "variant", "name", "plan", "method", "style")
MOST = 16  # bars


def benchmark(path, values):
    """The section of a file with `rows`.

    Args:
        path: `pathlib.Path` of the file.
        values: What it holds.

    Returns:
        `Section`.
    """
    rows = values["rows"]
    columns = {
        key: key.replace("_", " ")
        for key in dict.fromkeys(key for row in rows for key in row)
        if all(_is_cell(row.get(key)) for row in rows)
    }
    title = values.get("title") or "What was measured"
    bars = [_bar(row) for row in rows if row.get(SPEED)][:MOST]
    charts = [
        rank_chart("speed", f"{title}: tokens/s.", bars, x_label="tokens/s")
    ]
    return Section(
        kind="Benchmark",
        place=path.name,
        source=str(path),
        model=_model(values),
        charts=tuple(charts) if bars else (),
        tables=(Table.of(title, rows, columns),),
        command=values.get("command"),
        environment=values.get("environment"),
    )


def _model(values):
    model = values.get("model")
    return model.get("name") if isinstance(model, dict) else model


def _is_cell(value):
    return value is None or isinstance(value, (str, numbers.Real))


def _bar(row):
    """Name, tokens/s and text."""
    own = [str(row[key]) for key in NAMES if row.get(key)]
    name = " ".join(own) or "row"
    text = f"{name}\n{row[SPEED]:,.4g} tokens/s"
    steps = row.get("seconds")
    if isinstance(steps, list) and steps:
        ends = f"{min(steps):.3g} to {max(steps):.3g}"
        text += f"\n{len(steps)} steps of {ends} s"
    return name, row[SPEED], text
