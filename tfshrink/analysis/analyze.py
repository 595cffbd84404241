"""analyze's work: one or many places, side by side."""

import gc
import pathlib
import time

from tfshrink.analysis.model_analyzer import check_parts
from tfshrink.analysis.model_analyzer import ModelAnalyzer
from tfshrink.analysis.model_analyzer import PARTS
from tfshrink.analysis.report_folder import check_folder
from tfshrink.analysis.report_folder import write_report
from tfshrink.analysis.results import build_analysis
from tfshrink.analysis.results import FILE
from tfshrink.analysis.results import read_analysis
from tfshrink.errors import UserError
from tfshrink.evaluation.environment import environment
from tfshrink.files import plain
from tfshrink.files import write_json

OUTPUT = "out/analysis"


def analyze(
    paths, *, output=OUTPUT, overwrite=False, parts=PARTS, json=None, **settings
):
    """Analyzes places one after the other and writes one report of them.

    Args:
        paths: What `ModelAnalyzer` takes, or folders of earlier analyses,
            whose subjects are set beside without being measured again.
        output: Folder to make.
        overwrite: Replaces an earlier analysis that is there.
        parts: Names from `PARTS`.
        json: File that takes the results, too.
        **settings: Fields of `AnalysisSettings`.

    Returns:
        The dict of `analysis_results.json`. Places that cannot be analyzed are
        named in `skipped`, with the reason.

    Raises:
        UserError: The flags are wrong, or no place at all can be analyzed.
    """
    start = time.monotonic()
    check_parts(parts)
    if not paths:
        raise UserError(
            "A run folder, an export or a model must be named. Received: none"
        )
    _check_output(output, overwrite, json)
    subjects, skipped, references = [], [], {}
    for path in dict.fromkeys(map(str, paths)):
        try:
            subjects += _subjects(path, parts, references, settings)
        except (UserError, OSError) as error:
            skipped.append({"path": path, "reason": str(error)})
        gc.collect()  # compiled functions hold weights in circles
    if not subjects:
        raise UserError(
            "No place can be analyzed: "
            + "; ".join(f"{own['path']}: {own['reason']}" for own in skipped)
        )
    results = build_analysis(
        _told_apart(subjects), skipped, time.monotonic() - start
    )
    results = plain(results)
    write_report(output, results)
    if json:
        write_json(json, results)
    return results


def _check_output(output, overwrite, json):
    """Raises, before anything is measured, where nothing can be written."""
    check_folder(output, overwrite)
    pathlib.Path(output).parent.mkdir(parents=True, exist_ok=True)
    if (
        json
        and pathlib.Path(json).exists()
        and not pathlib.Path(json).is_file()
    ):
        raise UserError(
            f"`json` must be a file. Received: {json}, which is none"
        )


def _subjects(path, parts, references, settings):
    """Results of what lies at a place."""
    place = pathlib.Path(path)
    if place.name == FILE or (place / FILE).is_file():
        return _earlier(read_analysis(place), path)
    analyzer = ModelAnalyzer(path, references=references, **settings)
    try:
        return [analyzer.analyze(parts)]
    finally:
        analyzer.release()


def _earlier(results, path):
    """Subjects of an earlier analysis; times of other machines are named."""
    here, there = environment(), results["environment"]
    same = all(here[key] == there.get(key) for key in ("cores", "system"))
    if not same or here["device"] != there.get("device"):
        note = {
            "part": "performance",
            "reason": f"times of {path} are of another machine: "
            f"{there.get('cores')} cores, {there.get('device')}",
            "failed": False,
        }
        for subject in results["subjects"]:
            if subject["performance"] and note not in subject["notes"]:
                subject["notes"].append(note)
    return results["subjects"]


def _told_apart(subjects):
    """Subjects whose names are not taken: those of one name get a path."""
    names = [subject["name"] for subject in subjects]
    found = []
    for subject in subjects:
        if names.count(subject["name"]) > 1:
            subject = {**subject, "name": subject["path"]}
        found.append(subject)
    return found


def failures(results):
    """What `--strict` fails for: places and parts that should have worked.

    Args:
        results: Of `analyze`.

    Returns:
        List of strings.
    """
    found = [f"{own['path']} was skipped" for own in results["skipped"]]
    for subject in results["subjects"]:
        for note in subject["notes"]:
            if note["failed"]:
                found.append(f"{subject['name']} has no {note['part']}")
    return found
