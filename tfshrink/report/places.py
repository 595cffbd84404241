"""What lies in run folders and files: sections of a page, or what is wrong."""

import json
import pathlib

from tfshrink.errors import DAMAGE
from tfshrink.errors import UserError
from tfshrink.report.sections.analysis import analysis
from tfshrink.report.sections.basis import basis
from tfshrink.report.sections.benchmark import benchmark
from tfshrink.report.sections.certificate import certificate
from tfshrink.report.sections.exits import exit_policies
from tfshrink.report.sections.exits import exit_promise
from tfshrink.report.sections.exits import exit_study
from tfshrink.report.sections.kv import kv
from tfshrink.report.sections.results import results
from tfshrink.report.sections.search import search
from tfshrink.report.sections.sensitivity import sensitivity
from tfshrink.report.sections.training import training

RESULTS, EXITS = "results.json", "exits.json"
FILES = (
    RESULTS,
    "sensitivity.json",
    "certificate.json",
    EXITS,
    "analysis_results.json",
)
METRICS, CONFIG = "metrics.jsonl", "config.json"
VERSION = 1  # of the files that say theirs
# What a file must have to be of a kind, the most particular first.
KINDS = (
    (("subjects", "skipped"), analysis),
    (("search", "plans"), search),
    (("assumes", "plans"), certificate),
    (("certificate", "summary"), exit_promise),
    (("sweep", "suggestions"), exit_study),
    (("exits", "full"), exit_policies),
    (("basis", "figures"), basis),
    (("names", "rows"), sensitivity),
    (("reference", "plans"), results),
)


def read_place(place):
    """Sections of one run folder, search folder or file.

    Args:
        place: Its path.

    Returns:
        `(sections, problems)`: a list of `Section`, and a list of sentences
        that name a file and what is missing or wrong with it.
    """
    path = pathlib.Path(place)
    if not path.exists():
        return [], [
            "A run folder, or a file of results, must be given. Received: "
            f"{place}, which does not exist"
        ]
    if not path.is_dir():
        return _tried(_section, path)
    sections, problems = [], []
    values = _whole(path / RESULTS)
    if (path / METRICS).exists():
        sections, problems = _tried(training, path / METRICS, values)
    for name in FILES:
        if (path / name).exists() and not _is_of_training(path / name):
            more, wrong = _tried(_section, path / name)
            sections += more
            problems += wrong
    if (path / CONFIG).exists() and not (path / RESULTS).exists():
        problems.append(
            f"{path} must hold {RESULTS} to be reported whole. Received: a run "
            "that is not finished"
        )
    if not sections and not problems:
        problems.append(
            f"{path} must hold {', '.join((METRICS, *FILES))}. Received: none "
            "of them"
        )
    return sections, problems


def _whole(path):
    """A JSON object, or `None`; what is wrong is said where it is shown."""
    try:
        values = json.loads(path.read_text("utf-8"))
        return values if isinstance(values, dict) else None
    except (OSError, *DAMAGE):
        return None


def _is_of_training(path):
    """Whether a file is what a run's exits learned, no study of them."""
    return path.name == EXITS and "recall" in (_whole(path) or {})


def _tried(make, *arguments):
    """`([section], [])`, or what was wrong."""
    path = arguments[0]
    try:
        section = make(*arguments)
        for chart in section.charts:
            _ = chart.drawn  # what cannot be drawn is damaged, too
        return [section], []
    except UserError as error:
        named = str(path) in str(error)
        return [], [str(error) if named else f"{path}: {error}"]
    except (OSError, *DAMAGE) as error:
        what = f"{type(error).__name__}: {error}"
        if isinstance(error, KeyError):
            what = f"no {error}"
        return [], [
            f"{path} must be what a command of tfshrink wrote. Received: {what}"
        ]


def _section(path):
    values = json.loads(path.read_text("utf-8"))
    if not isinstance(values, dict):
        raise UserError(
            f"{path} must hold a JSON object. Received: {type(values).__name__}"
        )
    version = values.get("version", VERSION)
    if version != VERSION:
        raise UserError(
            f"{path} must be of version {VERSION}, which this tfshrink reads. "
            f"Received: version {version}"
        )
    for keys, make in KINDS:
        if all(key in values for key in keys):
            return make(path, values)
    rows = values.get("rows")
    if rows and all(isinstance(row, dict) for row in rows):
        return (kv if "kv_compression" in rows[0] else benchmark)(path, values)
    raise UserError(
        f"{path} must be results, a search, a sensitivity, a certificate, a "
        "study of exits, an analysis, or rows of a benchmark. Received: "
        f"{', '.join(sorted(values)[:6]) or 'nothing'}"
    )
