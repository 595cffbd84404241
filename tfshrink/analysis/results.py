"""`analysis_results.json`: its form, checked where it is written and read."""

import json
import pathlib

from tfshrink.errors import UserError
from tfshrink.evaluation.environment import environment
from tfshrink.evaluation.results import command_line

FILE = "analysis_results.json"
VERSION = 1
TOP = {
    "version": int,
    "subjects": list,
    "skipped": list,
    "environment": dict,
    "command": str,
    "seconds": (int, float),
}
PART = (dict, type(None))
SUBJECT = {
    "name": str,
    "kind": str,
    "path": str,
    "model": str,
    "identity": dict,
    "performance": PART,
    "bits": PART,
    "robustness": PART,
    "cycles": PART,
    "notes": list,
    "seconds": dict,
    "insights": list,
}
OPTIONAL = ("insights",)
# What every plan that a part speaks of has.
ROWS = {
    "performance": ("name", "bytes", "effective_bits"),
    "bits": ("name", "bytes", "effective_bits", "bit_map"),
    "robustness": ("name", "clean", "conditions"),
}


def build_analysis(subjects, skipped, seconds):
    """The dict of `analysis_results.json`, complete and checked.

    Args:
        subjects: Dicts of `ModelAnalyzer.analyze`.
        skipped: Dicts of `path` and `reason`.
        seconds: What all of it took.
    """
    return check_analysis(
        {
            "version": VERSION,
            "subjects": subjects,
            "skipped": skipped,
            "environment": environment(),
            "command": command_line(),
            "seconds": round(seconds, 3),
        },
        "results",
    )


def read_analysis(path):
    """Reads an `analysis_results.json`, or the one in a folder.

    Raises:
        UserError: There is none, it is damaged or of another version.
    """
    path = pathlib.Path(path)
    path = path / FILE if path.is_dir() else path
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} must be a readable file of bin/analyze. Received: {error}"
        ) from error
    return check_analysis(values, str(path))


def check_analysis(values, source):
    """Returns an analysis if it is one of this version.

    Args:
        values: What was read.
        source: Named in errors.

    Raises:
        UserError: It is of another version, lacks something, or has something
            that this version does not know.
    """
    version = values.get("version") if isinstance(values, dict) else None
    if version != VERSION:
        raise UserError(
            f"{source} must be an analysis of version {VERSION}. Received: "
            f"version {version}. Analyze the run again"
        )
    _check(values, TOP, source)
    for subject in values["subjects"]:
        name = subject.get("name") if isinstance(subject, dict) else subject
        _check(subject, SUBJECT, f"{source}: {name}", OPTIONAL)
        for part, keys in ROWS.items():
            _check_rows(subject[part], keys, f"{source}: {name}: {part}")
    return values


def _check(values, expected, source, optional=()):
    if not isinstance(values, dict):
        raise UserError(f"{source} must be a JSON object. Received: {values!r}")
    missing = sorted(set(expected) - set(values) - set(optional))
    unknown = sorted(set(values) - set(expected))
    wrong = [
        key
        for key in expected
        if key in values and not isinstance(values[key], expected[key])
    ]
    for reason, keys in (
        ("lacks", missing),
        ("has, which this version does not know,", unknown),
        ("has, of another kind,", wrong),
    ):
        if keys:
            raise UserError(
                f"{source} must be of bin/analyze, version {VERSION}. "
                f"Received: it {reason} {', '.join(keys)}"
            )


def _check_rows(part, keys, source):
    if part is None:
        return
    rows = part.get("plans")
    for row in rows if isinstance(rows, list) else [None]:
        missing = [k for k in keys if k not in row] if row else keys
        if missing:
            raise UserError(
                f"{source} must have rows of plans with {', '.join(keys)}. "
                f"Received: {', '.join(missing)} missing"
            )
