"""One self-contained HTML page from what commands left."""

import base64
import datetime
import json
import pathlib

import tfshrink
from tfshrink.errors import DAMAGE
from tfshrink.errors import UserError
from tfshrink.evaluation.evaluate_report import COLUMNS
from tfshrink.evaluation.evaluate_report import FORMATS
from tfshrink.evaluation.evaluate_report import table_rows
from tfshrink.evaluation.table import format_cell
from tfshrink.evaluation.translation_report import COLUMNS as TRANSLATED
from tfshrink.evaluation.translation_report import FORMATS as SCORES
from tfshrink.files import atomic_write

TEMPLATE = pathlib.Path(__file__).with_name("page.html")
RESULTS, SENSITIVITY = "results.json", "sensitivity.json"
CERTIFICATE = "certificate.json"
SEARCH_COLUMNS = {
    "name": "plan",
    "effective_bits": "bits",
    "bytes": "MB",
    "compression": "smaller",
    "kv": "K/V cache",
    "kv_bytes": "K/V MB",
    "exit": "exit",
    "layers": "layers",
    "read_bytes": "MB a token",
    "cost_ratio": "cheaper",
    "margin": "margin",
    "satisfied_share": "prompts satisfied",
    "perplexity_ratio": "perplexity",
}
SEARCH_FORMATS = {
    **FORMATS,
    "layers": ".2f",
    "read_bytes": lambda value: f"{value / 1e6:.1f}",
    "cost_ratio": lambda value: f"{value:.2f}x",
    "margin": "+.3f",
    "satisfied_share": ".0%",
}
PERCENT = {"rate": ".1%", "bound": ".1%"}


def report(places, output, *, title="tfshrink report"):
    """Writes a page about folders and files of results.

    Args:
        places: Run folders, search folders, or files that commands wrote
            (certificates, sensitivities, results).
        output: HTML file.
        title: Its heading.

    Returns:
        Number of sections.

    Raises:
        UserError: A place is missing, or holds nothing that can be shown.
    """
    import jinja2

    sections = [part for place in places for part in _sections(place)]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.from_string(TEMPLATE.read_text("utf-8"))
    text = page.render(
        title=title,
        version=tfshrink.__version__,
        date=datetime.date.today().isoformat(),
        sections=sections,
    )
    with atomic_write(output, "wb") as file:
        # JSON may hold half a character, which UTF-8 does not know.
        file.write(text.encode("utf-8", "replace"))
    return len(sections)


def _sections(place):
    path = pathlib.Path(place)
    if not path.exists():
        raise UserError(
            "A run folder, or a file of results, must be given. Received: "
            f"{place}, which does not exist"
        )
    files = [path]
    if path.is_dir():
        names = (RESULTS, SENSITIVITY, CERTIFICATE)
        files = [path / name for name in names if (path / name).exists()]
    found = [_section(file) for file in files]
    if not found:
        raise UserError(
            f"{place} must hold {RESULTS}, {SENSITIVITY} or {CERTIFICATE}. "
            "Received: none of them"
        )
    return found


def _section(path):
    try:
        values = json.loads(path.read_text("utf-8"))
        values = dict(values)
        for key, make in MAKERS.items():
            if key in values:
                return make(path, values)
    except (OSError, *DAMAGE) as error:
        raise UserError(
            f"{path} must be a file that a command of tfshrink wrote. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    raise UserError(
        f"{path} must be results, a sensitivity or a certificate. Received: "
        f"{', '.join(sorted(values)[:6])}"
    )


def _search(path, values):
    own = values["search"]
    plans = values["plans"]
    lines = [
        f"Requirement: {own['requirement']['formula']}",
        f"{own['judged']} plans judged on {own['prompts']} prompts by "
        f"{own['method']}, {values['seconds']:.0f} s.",
    ]
    if not own["feasible"]:
        lines.append(
            "No plan satisfied the requirement on every prompt: these violate "
            "it least."
        )
    used = _used(SEARCH_COLUMNS, plans)
    return {
        "title": f"Search: {values['model']} ({path.parent.name})",
        "lines": lines,
        "figures": _figures(path.with_name("front.png"), "All judged plans"),
        "tables": [_table("Front", plans, used, SEARCH_FORMATS)],
        "command": values["command"],
    }


def _results(path, values):
    rows = table_rows(values)
    formats = FORMATS
    used = _used(COLUMNS, rows)
    if values.get("task") == "translation":
        used, formats = _used(TRANSLATED, rows), SCORES
    text = values.get("protocol", {}).get("describe")
    return {
        "title": f"Plans: {values['model']} ({path.parent.name})",
        "lines": [f"Text: {text}."] if text else [],
        "figures": [],
        "tables": [_table("Judged", rows, used, formats)],
        "command": values["command"],
    }


def _sensitivity(path, values):
    rows = sorted(values["rows"], key=lambda row: -row["kl"])[:20]
    keys = (
        "group",
        "bits",
        "pruning",
        "kl",
        "estimate",
        "perplexity",
        "margin",
    )
    lines = [f"{len(values['rows'])} changes, one layer group at a time."]
    if values.get("correlation") is not None:
        lines.append(
            "Rank correlation of the Fisher estimate with the measured "
            f"divergence: {values['correlation']:.3f}."
        )
    return {
        "title": f"Sensitivity ({path.parent.name or path.name})",
        "lines": lines,
        "figures": _figures(path.with_suffix(".png"), "Divergence by layer"),
        "tables": [
            _table(
                "Most sensitive",
                rows,
                {key: key for key in keys},
                {"kl": ".2e", "estimate": ".2e", "margin": "+.3f"},
            )
        ],
        "command": None,
    }


def _certificate(path, values):
    prompts = values["prompts"]
    rates, worst = [], []
    for plan in values["plans"]:
        for name, own in plan["properties"].items():
            rates.append({"plan": plan["name"], "property": name, **own})
        for row in plan["worst"]:
            worst.append({"plan": plan["name"], **row})
    formats = {
        **PERCENT,
        "median_margin": "+.3f",
        "worst_margin": "+.3f",
        "margin": "+.3f",
    }
    columns = {
        "plan": "plan",
        "property": "property",
        "violations": "violations",
        "rate": "rate",
        "bound": "rate is below",
        "median_margin": "median margin",
        "worst_margin": "worst margin",
    }
    shown = {
        "plan": "plan",
        "prompt": "prompt",
        "property": "property",
        "token": "token",
        "margin": "margin",
        "text": "text up to there",
    }
    return {
        "title": f"Certificate ({path.name})",
        "lines": [
            f"Requirement: {values['formula']}",
            f"{prompts['count']} prompts of {', '.join(prompts['data'])} that "
            "no search has seen. All bounds hold together with "
            f"{values['confidence']:.0%} confidence ({values['bound']}; "
            f"{values['tests']} tests); it assumes {values['assumes']}.",
        ],
        "figures": [],
        "tables": [
            _table("Violations", rates, columns, formats),
            _table("Worst prompts", worst, shown, formats),
        ],
        "command": values.get("command"),
    }


MAKERS = {
    "search": _search,
    "assumes": _certificate,
    "names": _sensitivity,
    "reference": _results,
}


def _used(columns, rows):
    """The columns that some row has a value of."""
    return {
        key: heading
        for key, heading in columns.items()
        if any(row.get(key) is not None for row in rows)
    }


def _table(caption, rows, columns, formats):
    return {
        "caption": caption,
        "head": list(columns.values()),
        "rows": [
            [format_cell(row.get(key), formats.get(key)) for key in columns]
            for row in rows
        ],
    }


def _figures(path, alt):
    if not path.exists():
        return []
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return [{"data": data, "alt": alt}]
