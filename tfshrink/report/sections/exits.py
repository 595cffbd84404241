"""Early exit: a study, policies side by side, and a promise."""

from tfshrink.exits.report import COLUMNS
from tfshrink.exits.report import FORMATS
from tfshrink.report.exit_plot import calibration_chart
from tfshrink.report.exit_plot import histogram_chart
from tfshrink.report.exit_plot import positions_chart
from tfshrink.report.exit_plot import sweep_chart
from tfshrink.report.section import Section
from tfshrink.report.section import Table

MOST = 4  # policies of a histogram
TUNED = {"wanted": "tuned for", **COLUMNS}
NAMED = {"preset": "preset", **COLUMNS}


def exit_study(path, values):
    """The section of a study of `bin/diagnose exits`.

    Args:
        path: `pathlib.Path` of the file.
        values: What it holds.

    Returns:
        `Section`.
    """
    tuned = [
        {"wanted": own["wanted"], **own["test"]}
        for own in values["suggestions"]
    ]
    charts = [sweep_chart(values)]
    charts.append(
        histogram_chart(
            {f"tuned for {row['wanted']:.0%}": row["by_layer"] for row in tuned}
        )
    )
    charts += [calibration_chart(values), positions_chart(values)]
    formats = {**FORMATS, "wanted": ".0%"}
    tables = [
        Table.of("Policies tuned on other text", tuned, TUNED, formats),
        Table.of("Presets", values.get("presets", []), NAMED, formats),
    ]
    return _section("Exits", path, values, charts, tables)


def exit_policies(path, values):
    """The section of policies that `bin/evaluate --exit` set side by side."""
    rows = values["exits"]
    shown = {row["exit"]: row["by_layer"] for row in rows[:MOST]}
    if values.get("full"):
        first = {"exit": "none", "agreement": 1.0, "weights_read": 1.0}
        rows = [{**first, **values["full"]}, *rows]
    tables = [Table.of("Exit policies", rows, COLUMNS, FORMATS)]
    charts = [histogram_chart(shown)]
    return _section("Exit policies", path, values, charts, tables)


def exit_promise(path, values):
    """The section of a policy that `bin/certify --exit` proved."""
    own, summary = values["certificate"], values["summary"]
    promise = (
        f"Promised: with {1 - own['level']:.0%} confidence at least "
        f"{1 - own['risk']:.1%} of a prompt's tokens are the full model's, in "
        f"the mean over such prompts (measured {1 - own['measured']:.1%} on "
        f"{own['prompts']}, p = {own['p_value']:.2g})."
    )
    charts = [histogram_chart({"calibrated": summary["by_layer"]})]
    tables = [
        Table.of("Calibrated by Learn-then-Test", [summary], COLUMNS, FORMATS)
    ]
    return _section(
        "Exit certificate", path, values, charts, tables, (promise,)
    )


def _section(kind, path, values, charts, tables, lines=()):
    count = values.get("prompts") or values["certificate"]["prompts"]
    count = count[-1] if isinstance(count, list) else count
    about = (
        f"Agreement with the full model along its own greedy text: plan "
        f"{values['plan']['name']}, {count} prompts of {values['data']} "
        f"(test), {values['new_tokens']} tokens each, {values['dtype']}. "
        "Weights read: by a token, of the full model's."
    )
    return Section(
        kind=kind,
        place=_place(path),
        source=str(path),
        model=values["model"]["name"],
        lines=(*lines, about),
        charts=tuple(charts),
        tables=tuple(table for table in tables if table.rows),
        command=values.get("command"),
        environment=values.get("environment"),
    )


def _place(path):
    return path.parent.name if path.name == "exits.json" else path.name
