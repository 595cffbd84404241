"""The plans that a report names, as files in its folder."""

import pathlib
import re

FOLDER = "plans"
SHORT = re.compile(r"(\d+|stripe-\d+-\d+)(:[\w=.]+)*")  # what `--plan` takes


def plan_file(subject, plan):
    """Where a plan lies in the folder of a report.

    Args:
        subject: Name of the subject.
        plan: Name of the plan.

    Returns:
        A relative path, with forward slashes.
    """
    return f"{FOLDER}/{slug(subject)}/{slug(plan)}.json"


def slug(text):
    """A name as part of a file's name."""
    return re.sub(r"[^\w.=-]+", "-", str(text)).strip("-.") or "plan"


def typed(subject, plan):
    """What `--plan` takes for a plan: its short form, or its file."""
    if SHORT.fullmatch(plan):
        return plan
    return plan_file(subject, plan)


def write_plans(folder, results):
    """Writes the plans of an analysis below a folder.

    Args:
        folder: Folder that is there.
        results: Dict of `analysis_results.json`.
    """
    from tfshrink.files import write_json

    for subject in results["subjects"]:
        bits = subject["bits"] or {"plans": (), "mixed": ()}
        for row in [*bits["plans"], *bits["mixed"]]:
            if "plan" in row:
                own = plan_file(subject["name"], row["name"])
                write_json(pathlib.Path(folder) / own, row["plan"])
