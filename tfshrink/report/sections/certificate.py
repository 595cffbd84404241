"""A certificate of bin/certify: rates, bounds, margins, worst prompts."""

from tfshrink.report.margin_plot import MOST
from tfshrink.report.margin_plot import radar
from tfshrink.report.margin_plot import token_chart
from tfshrink.report.margin_plot import unchanged_margins
from tfshrink.report.section import Section
from tfshrink.report.section import Table
from tfshrink.search.columns import VIOLATIONS

ALL = "all"  # every property at once, beside the properties
WORST = {
    "plan": "plan",
    "prompt": "prompt",
    "property": "property",
    "token": "token",
    "margin": "margin",
    "text": "text up to there",
}
FORMATS = {
    "rate": ".1%",
    "bound": ".1%",
    "median_margin": "+.3f",
    "worst_margin": "+.3f",
    "margin": "+.3f",
}


def certificate(path, values):
    """The section of a certificate.

    Args:
        path: `pathlib.Path` of the file.
        values: What it holds.

    Returns:
        `Section`.
    """
    prompts, plans = values["prompts"], values["plans"]
    rates, worst = [], []
    for plan in plans:
        name = plan["name"]
        for key, own in plan["properties"].items():
            rates.append({"plan": name, "property": key, **own})
        worst += [{"plan": name, **row} for row in plan["worst"]]
    lines = [
        f"Requirement: {values['formula']}",
        f"{prompts['count']} prompts of {', '.join(prompts['data'])} that no "
        "search has seen. All bounds hold together with "
        f"{values['confidence']:.0%} confidence ({values['bound']}; "
        f"{values['tests']} tests); it assumes {values['assumes']}.",
    ]
    charts = _radars(values["formula"], plans)
    curves = _token_charts(values["formula"], plans)
    if not curves:
        lines.append(
            "This certificate holds no margins of single tokens: bin/certify "
            "writes them since they are shown."
        )
    return Section(
        kind="Certificate",
        place=path.name,
        source=str(path),
        model=(values.get("model") or {}).get("name"),
        lines=tuple(lines),
        charts=tuple(charts + curves),
        tables=(
            Table.of("Violations", rates, VIOLATIONS, FORMATS),
            Table.of("Worst prompts", worst, WORST, FORMATS),
        ),
        command=values.get("command"),
        environment=values.get("environment"),
    )


def _radars(formula, plans):
    """Margins of plans that were judged by the whole formula."""
    whole = set(unchanged_margins(formula))
    shown = {
        plan["name"]: {
            key: own["worst_margin"]
            for key, own in plan["properties"].items()
            if key != ALL
        }
        for plan in plans
        if whole <= set(plan["properties"])
    }
    return [radar(formula, shown, "worst prompt")] if shown else []


def _token_charts(formula, plans):
    return [
        token_chart(plan.get("formula", formula), plan["name"], row)
        for plan in plans[:MOST]
        for row in plan["worst"][:1]
        if row.get("over_tokens")
    ]
