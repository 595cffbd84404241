"""The folder that an analysis leaves."""

import os
import pathlib

from tfshrink.analysis.plan_files import write_plans
from tfshrink.analysis.results import FILE
from tfshrink.analysis.summary import insights
from tfshrink.analysis.summary import summary
from tfshrink.analysis.tables import tables_of
from tfshrink.errors import UserError
from tfshrink.files import atomic_folder
from tfshrink.files import plain
from tfshrink.files import write_json

SUMMARY, INSIGHTS, TABLES = "summary_report.md", "insights.md", "tables"


def check_folder(folder, overwrite=False):
    """Raises a `UserError` for a folder that must not be written.

    Args:
        folder: The folder.
        overwrite: Whether an earlier analysis may go.
    """
    path = pathlib.Path(folder)
    if not path.exists() or (path.is_dir() and not os.listdir(path)):
        return
    if not (path / FILE).is_file():
        raise UserError(
            "`--output` must be a new folder, or one that bin/analyze wrote. "
            f"Received: {folder}, which is something else"
        )
    if not overwrite:
        raise UserError(
            "`--output` must be new, or come with --overwrite. Received: "
            f"{folder}, which holds an analysis"
        )


def write_report(folder, results):
    """Writes results, summary, insights, tables and plans; all or nothing.

    Args:
        folder: Folder to make, or to replace; see `check_folder`.
        results: Dict of `build_analysis`.
    """
    results = plain(results)
    with atomic_folder(folder) as hidden:
        write_json(hidden / FILE, results)
        (hidden / SUMMARY).write_text(summary(results), "utf-8")
        (hidden / INSIGHTS).write_text(insights(results), "utf-8")
        (hidden / TABLES).mkdir()
        for name, table in tables_of(results).items():
            text = f"{table.markdown()}\n\n{table.note}\n"
            (hidden / TABLES / f"{name}.md").write_text(text, "utf-8")
            text = f"{table.latex()}\n"
            (hidden / TABLES / f"{name}.tex").write_text(text, "utf-8")
        write_plans(hidden, results)
