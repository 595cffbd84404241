"""Codecs of the K/V cache side by side: bin/benchmark --suite=kv."""

from tfshrink.evaluation.kv_suite_report import COLUMNS
from tfshrink.evaluation.kv_suite_report import FORMATS
from tfshrink.evaluation.kv_suite_report import shown_row
from tfshrink.report.kv_plot import kv_chart
from tfshrink.report.section import Section
from tfshrink.report.section import Table


def kv(path, values):
    """The section of a suite of codecs.

    Args:
        path: `pathlib.Path` of the file.
        values: What it holds.

    Returns:
        `Section`.
    """
    rows = values["rows"]
    about = values.get("protocol", {}).get("describe")
    points = [_point(row) for row in rows if row["kv_compression"] > 1.0]
    lines = [f"Text: {about}."] if about else []
    if "model" not in values:
        lines.append(
            f"{path.name} is of a suite that was not finished: it does not say "
            "of which model and text."
        )
    return Section(
        kind="K/V cache",
        place=path.name,
        source=str(path),
        model=values.get("model"),
        lines=tuple(lines),
        charts=(kv_chart(points, about or ""),) if points else (),
        tables=(
            Table.of(
                "Codecs; bytes are of one sequence, everything counted",
                [shown_row(row) for row in rows],
                COLUMNS,
                FORMATS,
            ),
        ),
        command=values.get("command"),
        environment=values.get("environment"),
    )


def _point(row):
    codec, *options = row["kv"].split(":")
    named = [own for own in options if own.startswith(("method=", "rotated="))]
    return {
        # int8, int4 and int2 are one codec at three rates.
        "family": " ".join([codec.rstrip("248"), *named]),
        "name": row["kv"],
        "smaller": row["kv_compression"],
        "bytes": row["kv_bytes"],
        "ratio": row["perplexity_ratio"],
    }
