"""A search: its front, all that was judged, and margins of the front."""

import csv

from tfshrink.errors import UserError
from tfshrink.evaluation.evaluate_report import FORMATS
from tfshrink.evaluation.results import validate_results
from tfshrink.report.front_plot import front_chart
from tfshrink.report.margin_plot import radar
from tfshrink.report.section import Section
from tfshrink.report.section import Table
from tfshrink.report.sections.reference import reference_text
from tfshrink.report.sections.results import plan_maps
from tfshrink.search.columns import FRONT

LOG = "log.csv"
TABLE = {
    **FORMATS,
    "layers": ".2f",
    "read_bytes": lambda value: f"{value / 1e6:.1f}",
    "cost_ratio": lambda value: f"{value:.2f}x",
    "margin": "+.3f",
    "satisfied_share": ".0%",
}
RELAXED = {"relax": "thresholds give way by", "bytes": "MB"}


def search(path, values):
    """The section of a search folder's `results.json`.

    Args:
        path: `pathlib.Path` of the file; `log.csv` lies beside it.
        values: What it holds.

    Returns:
        `Section`.
    """
    validate_results(values, source=str(path))
    own, plans = values["search"], values["plans"]
    formula = own["requirement"]["formula"]
    lines = [
        f"Requirement: {formula}",
        f"{own['judged']} plans judged on {own['prompts']} prompts by "
        f"{own['method']}, {values['seconds']:.0f} s.",
    ]
    if not own["feasible"]:
        lines.append(
            "No plan satisfied the requirement on every prompt: these violate "
            "it least."
        )
    log = path.with_name(LOG)
    objectives = own["objectives"]
    judged = _judged(log, objectives) if log.exists() else plans
    if judged is plans:
        lines.append(f"{log.name} is missing: the figure has the front alone.")
    charts = [front_chart(judged, plans, objectives)]
    margins = {p["name"]: p["worst"] for p in plans if p.get("worst")}
    if margins:
        charts.append(radar(formula, margins, "worst prompt of the search"))
    charts += plan_maps(path, plans)
    return Section(
        kind="Search",
        place=path.parent.name,
        source=str(path),
        model=values["model"],
        lines=tuple(lines),
        charts=tuple(charts),
        tables=(
            Table.of("Front", plans, FRONT, TABLE),
            Table.of(
                "Smallest if the thresholds gave way",
                own.get("relaxed") or [],
                RELAXED,
                {"relax": ".0%", "bytes": FORMATS["bytes"]},
            ),
        ),
        command=values["command"],
        environment=values["environment"],
        reference=reference_text(values),
        results=values,
    )


def _judged(path, objectives):
    """Rows of `log.csv` that have what the figure shows."""
    numbers = {"margin", "bytes", "effective_bits", *objectives}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = [
                {
                    "plan": row["plan"],
                    "satisfied": row["satisfied"] == "True",
                    **{k: float(row[k]) for k in numbers if row[k]},
                }
                for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(
            f"{path} must be the log of bin/search. Received: "
            f"{type(error).__name__}: {error}"
        ) from error
    return [row for row in rows if numbers <= set(row)]
