"""Figures of a script of benchmarks/, or of a suite: rows of numbers."""

import numbers

from tfshrink.evaluation.table import format_cell
from tfshrink.report.bar_chart import rank_chart
from tfshrink.report.section import Section
from tfshrink.report.section import Table

# What is drawn: the first of these that rows have.
DRAWN = {
    "tokens_per_second": ("speed", "tokens/s"),
    "perplexity_ratio": ("ratio", "perplexity ratio to full precision"),
}
NAMES = ("side", "variant", "name", "method", "style", "plan")
MOST = 16  # bars


def benchmark(path, values):
    """The section of a file with `rows`.

    Args:
        path: `pathlib.Path` of the file.
        values: What it holds; a cell is a number, words, or a dict of `mean`
            and `spread`.

    Returns:
        `Section`.
    """
    rows = values["rows"]
    columns = {
        key: key.replace("_", " ")
        for key in dict.fromkeys(key for row in rows for key in row)
        if all(_is_cell(row.get(key)) for row in rows)
    }
    title = values.get("title") or values.get("suite") or "What was measured"
    shown = [{key: _shown(row.get(key)) for key in columns} for row in rows]
    return Section(
        kind="Benchmark",
        place=path.name,
        source=str(path),
        model=_model(values),
        charts=tuple(_charts(title, rows)),
        tables=(Table.of(title, shown, columns),),
        command=values.get("command"),
        environment=values.get("environment"),
    )


def _model(values):
    model = values.get("model")
    return model.get("name") if isinstance(model, dict) else model


def _is_cell(value):
    return (
        value is None
        or isinstance(value, (str, numbers.Real))
        or (isinstance(value, dict) and "mean" in value)
    )


def _shown(value):
    """A cell; means with their spread are words."""
    if not isinstance(value, dict):
        return value
    mean, spread = value["mean"], value.get("spread")
    return format_cell(mean) + (f" ± {spread:.2g}" if spread else "")


def _charts(title, rows):
    for key, (name, label) in DRAWN.items():
        bars = [_bar(row, key, label) for row in rows if row.get(key)][:MOST]
        if bars:
            return [rank_chart(name, f"{title}: {label}.", bars, x_label=label)]
    return []


def _bar(row, key, label):
    """Name, number and text."""
    name = " ".join(str(row[k]) for k in NAMES if row.get(k)) or "row"
    value = row[key]["mean"] if isinstance(row[key], dict) else row[key]
    text = f"{name}\n{format_cell(_shown(row[key]))} {label}"
    steps = row.get("seconds")
    if isinstance(steps, list) and steps:
        ends = f"{min(steps):.3g} to {max(steps):.3g}"
        text += f"\n{len(steps)} steps of {ends} s"
    return name, value, text
