"""The results of bin/evaluate, or of bin/train's last step: plans judged."""

from tfshrink.errors import UserError
from tfshrink.evaluation.evaluate_report import FORMATS
from tfshrink.evaluation.evaluate_report import shown_columns
from tfshrink.evaluation.evaluate_report import table_rows
from tfshrink.evaluation.results import validate_results
from tfshrink.evaluation.translation_report import COLUMNS as TRANSLATED
from tfshrink.evaluation.translation_report import FORMATS as SCORES
from tfshrink.plan import Plan
from tfshrink.report.bit_map import bit_map
from tfshrink.report.plans_plot import plans_chart
from tfshrink.report.section import Section
from tfshrink.report.section import Table
from tfshrink.report.sections.reference import reference_text

EXAMPLES = 6  # translations that are shown
WHOLE = 16  # bits from which on nothing is quantized


def results(path, values):
    """The section of a `results.json`.

    Args:
        path: `pathlib.Path` of the file.
        values: What it holds.

    Returns:
        `Section`.
    """
    validate_results(values, source=str(path))
    rows = table_rows(values)
    translated = values.get("task") == "translation"
    columns, formats = (
        (TRANSLATED, SCORES) if translated else (shown_columns(rows), FORMATS)
    )
    tables = [Table.of("Plans", rows, columns, formats)]
    if translated:
        tables += _examples(values["plans"][-1].get("examples") or [])
    text = values.get("protocol", {}).get("describe") or values.get("data")
    charts = plan_maps(path, values["plans"])
    judged = [r for r in rows if r.get("perplexity_ratio") and r.get("bytes")]
    if charts and len(judged) > 1:
        charts.insert(0, plans_chart({values["model"]: judged}))
    return Section(
        kind="Plans judged",
        place=path.parent.name if path.name == "results.json" else path.name,
        source=str(path),
        model=values["model"],
        lines=(f"Text: {text}.",) if text else (),
        charts=tuple(charts),
        tables=tuple(tables),
        command=values["command"],
        environment=values["environment"],
        reference=reference_text(values),
        results=values,
    )


def plan_maps(path, rows):
    """The bit map of the plans that quantize something.

    Args:
        path: Their file, for errors.
        rows: Of `plans` in a `results.json`.

    Returns:
        List of `Chart`.

    Raises:
        UserError: A plan is of another version, or damaged.
    """
    found = {}
    for row in rows:
        if isinstance(row["plan"], dict):
            try:
                plan = Plan.from_json({**row["plan"], "name": row["name"]})
            except UserError as error:
                raise UserError(f"{path}: {error}") from error
            if min(plan.bits) < WHOLE:
                found.setdefault(plan.bits, plan)
    plans = list(found.values())
    shapes = {(plan.layers, plan.tied) for plan in plans}
    if len(shapes) != 1:  # none, or several models: no common axis
        return []
    return [bit_map(plans)]


def _examples(rows):
    columns = {"source": "source", "made": "made", "target": "reference"}
    shown = [
        dict(zip(columns, map(str, row), strict=True))
        for row in rows[:EXAMPLES]
    ]
    return [Table.of("Translations", shown, columns)] if shown else []
