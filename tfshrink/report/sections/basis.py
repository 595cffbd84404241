"""A basis along time on real keys and values: bin/diagnose."""

from tfshrink.report.basis_plot import compaction_chart
from tfshrink.report.section import Section
from tfshrink.report.section import Table


def basis(path, values):
    """The section of a basis.

    Args:
        path: `pathlib.Path` of the file.
        values: What it holds.

    Returns:
        `Section`.
    """
    rows = values.get("rows") or []
    summary = [
        {"kind": kind.replace("_", " "), **own}
        for kind, own in (values.get("summary") or {}).items()
    ]
    columns = {
        key: key.replace("_", " ")
        for key in dict.fromkeys(key for row in summary for key in row)
        if not any(isinstance(row.get(key), (dict, list)) for row in summary)
    }
    figures = [
        {"figure": key.replace("_", " "), "value": value}
        for key, value in values["figures"].items()
        if not isinstance(value, (dict, list))
    ]
    named = {"figure": "of the basis", "value": "value"}
    return Section(
        kind="Basis",
        place=f"{values['basis']}, blocks of {values['block']} tokens",
        source=str(path),
        model=values.get("model"),
        charts=(compaction_chart(rows, values["kept"]),) if rows else (),
        tables=(
            Table.of("Keys and values", summary, columns),
            Table.of("Figures", figures, named),
        ),
        command=values.get("command"),
        environment=values.get("environment"),
    )
