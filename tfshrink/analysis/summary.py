"""An analysis in words: what was measured, and what it asks for."""

from tfshrink.analysis.tables import tables_of
from tfshrink.files import plain

WIDE = 40  # cycles that a table of the summary may have


def summary(results):
    """The text of `summary_report.md`.

    Args:
        results: Dict of `analysis_results.json`.
    """
    parts = ["# Analysis", _heading(results)]
    for name, table in tables_of(results).items():
        if name == "blocks" or len(table.rows) > WIDE and name == "cycles":
            text = f"In tables/{name}.md: {len(table.rows)} rows."
        else:
            text = table.markdown()
        parts += [f"## {table.title}", text, table.note]
    parts += ["## Bit maps", bit_maps(results)]
    parts += ["## What to do next", insights_text(results, level="###")]
    parts += ["## What is missing", _missing(results)]
    parts += ["## How it was made", _made(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def insights(results):
    """The text of `insights.md`."""
    return "# What to do next\n\n" + insights_text(results) + "\n"


def insights_text(results, level="##"):
    """Insights of every subject, each with the figures it rests on."""
    parts = []
    for subject in results["subjects"]:
        found = subject.get("insights")
        parts.append(f"{level} {subject['name']}")
        if found is None:
            parts.append("Not asked for.")
        elif not found:
            parts.append("No rule has anything to say about these figures.")
        parts += [_insight(own) for own in found or ()]
    return "\n\n".join(parts)


def _insight(own):
    figures = ", ".join(_figure(*pair) for pair in own["figures"].items())
    return f"- **{own['rule']}**: {own['text']} {own['next']}\n  ({figures})"


def _figure(name, value):
    if isinstance(value, dict):
        inner = ", ".join(_figure(*pair) for pair in value.items())
        return f"{name}: {inner}"
    if isinstance(value, (list, tuple)):
        return f"{name} {' to '.join(f'{x:.4g}' for x in value)}"
    return (
        f"{name} {value:.6g}"
        if isinstance(value, float)
        else (f"{name} {value}")
    )


def bit_maps(results):
    """The bits of every layer group: a line a plan, blocks in order."""
    lines = []
    for subject in results["subjects"]:
        found = subject["bits"] or {"plans": (), "mixed": ()}
        for row in (*found["plans"], *found["mixed"]):
            groups = row["bit_map"]["groups"]
            lines.append(f"{subject['name']} {row['name']}: {_runs(groups)}")
    return "\n".join(["```", *lines, "```"]) if lines else ""


def _runs(groups):
    """Bits a block (one each where its groups differ), then the rest."""
    blocks, outside = {}, []
    for group in groups:
        block, _, inner = group["name"].partition("/")
        if inner:
            blocks.setdefault(block, []).append(group["bits"])
        else:
            outside.append(f"{block} {group['bits']}")
    texts = [
        str(own[0]) if len(set(own)) == 1 else "/".join(map(str, own))
        for own in blocks.values()
    ]
    return " ".join(["blocks", *texts, "|", *outside])


def _heading(results):
    lines = []
    for subject in results["subjects"]:
        about = (subject["performance"] or {}).get("protocol") or {}
        text = about.get("describe")
        lines.append(
            f"- {subject['name']}: {subject['kind']} of {subject['model']} "
            f"({subject['path']})" + (f"; {text}" if text else "")
        )
    if len({_identity(subject) for subject in results["subjects"]}) > 1:
        lines.append(
            "\nThese are of different models: each stands against its own "
            "full precision, and only ratios can be compared."
        )
    elif len({_text(subject) for subject in results["subjects"]} - {None}) > 1:
        lines.append(
            "\nThese were judged on different texts or windows: only ratios "
            "can be compared."
        )
    return "\n".join(lines)


def _text(subject):
    about = (subject["performance"] or {}).get("protocol") or {}
    own = [about.get(name) for name in ("text", "context", "tokens")]
    return str(own) if any(own) else None


def _identity(subject):
    return str(sorted(plain(subject["identity"]).items()))


def _missing(results):
    lines = [
        f"- {own['path']} was skipped: {own['reason']}"
        for own in results["skipped"]
    ]
    for subject in results["subjects"]:
        for note in subject["notes"]:
            what = f"{subject['name']}, {note['part']}"
            lines.append(f"- {what}: {note['reason']}")
    return "\n".join(lines) or "Nothing."


def _made(results):
    own = results["environment"]
    versions = ", ".join(f"{k} {v}" for k, v in own["versions"].items())
    lines = [
        f"```bash\n{results['command']}\n```",
        f"{results['seconds']:.0f} s on {own['device']}, {own['cores']} cores, "
        f"{own['system']}; {versions}.",
    ]
    for subject in results["subjects"]:
        spent = ", ".join(
            f"{k} {v:.0f} s" for k, v in subject["seconds"].items()
        )
        lines.append(f"{subject['name']}: {spent or 'nothing timed'}.")
    return "\n\n".join(lines)
