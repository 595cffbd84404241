"""A file of bin/sensitivity: a heat map, and what minds most."""

from tfshrink.report.section import Section
from tfshrink.report.section import Table
from tfshrink.report.sensitivity_map import map_chart
from tfshrink.search.sensitivity import Sensitivity

MOST = 20  # rows of the table
COLUMNS = {
    "group": "layer group",
    "bits": "bits",
    "pruning": "pruning",
    "kl": "divergence, nats",
    "estimate": "Fisher estimate, nats",
    "perplexity": "perplexity",
    "margin": "margin",
}
FORMATS = {"kl": ".2e", "estimate": ".2e", "margin": "+.3f"}


def sensitivity(path, values):
    """The section of a `sensitivity.json`.

    Args:
        path: `pathlib.Path` of the file.
        values: What it holds.

    Returns:
        `Section`.
    """
    found = Sensitivity.load(path)
    rows = sorted(found.rows, key=lambda row: -row["kl"])[:MOST]
    lines = [f"{len(found.rows)} changes, one layer group at a time."]
    if values.get("correlation") is not None:
        lines.append(
            "Rank correlation of the Fisher estimate with the measured "
            f"divergence: {values['correlation']:.3f}."
        )
    model = found.identity.get("model") or {}
    return Section(
        kind="Sensitivity",
        place=path.parent.name or path.name,
        source=str(path),
        model=model.get("name"),
        lines=tuple(lines),
        charts=(map_chart(found),),
        tables=(
            Table.of(f"The {len(rows)} most sensitive", rows, COLUMNS, FORMATS),
        ),
        command=values.get("command"),
        environment=values.get("environment"),
    )
