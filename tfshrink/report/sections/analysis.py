"""An analysis of bin/analyze: its tables, and what to do next."""

from tfshrink.analysis.results import check_analysis
from tfshrink.analysis.robustness.table import robustness_rows
from tfshrink.analysis.tables import tables_of
from tfshrink.report.bar_chart import rank_chart
from tfshrink.report.section import Section
from tfshrink.report.section import Table

MOST = 12  # bars
FINDINGS = {
    "subject": "subject",
    "rule": "rule",
    "text": "what was found",
    "next": "what to do next",
}


def analysis(path, values):
    """The section of an `analysis_results.json`.

    Args:
        path: `pathlib.Path` of the file.
        values: What it holds.

    Returns:
        `Section`.

    Raises:
        UserError: It is of another version, or damaged.
    """
    check_analysis(values, str(path))
    subjects = values["subjects"]
    models = {subject["model"] for subject in subjects}
    findings = [
        {"subject": subject["name"], **found}
        for subject in subjects
        for found in subject.get("insights") or ()
    ]
    tables = [
        Table.of(
            " ".join(part for part in (f"{own.title}.", own.note) if part),
            own.rows,
            own.columns,
            own.formats,
        )
        for own in tables_of(values).values()
    ]
    if findings:
        tables.insert(0, Table.of("What to do next", findings, FINDINGS))
    return Section(
        kind="Analysis",
        place=path.parent.name or path.name,
        source=str(path),
        model=models.pop() if len(models) == 1 else None,
        lines=tuple(
            f"Left out: {own['path']}: {own['reason']}"
            for own in values["skipped"]
        ),
        charts=tuple(_robustness(subjects)),
        tables=tuple(tables),
        command=values["command"],
        environment=values["environment"],
    )


def _robustness(subjects):
    """A chart of what attacks and noise do to perplexity."""
    bars = []
    for subject in subjects:
        rows = subject["robustness"]
        for row in robustness_rows(rows) if rows else ():
            if row.get("ratio"):
                what = f"{row['plan']}, {row['condition']} {row['strength']:g}"
                if len(subjects) > 1:
                    what = f"{subject['name']}: {what}"
                text = f"{what}\n{row['ratio']:.3f} ({row['interval']})"
                bars.append((what, row["ratio"], text))
    if not bars:
        return []
    bars.sort(key=lambda bar: -bar[1])
    label = "perplexity ratio to clean text"
    caption = f"Attacks and noise: {label}, the worst first."
    return [rank_chart("robustness", caption, bars[:MOST], x_label=label)]
