"""What bin/analyze prints for people."""

from tfshrink.analysis.analyze import failures
from tfshrink.analysis.report_folder import INSIGHTS
from tfshrink.analysis.report_folder import SUMMARY
from tfshrink.analysis.tables import tables_of
from tfshrink.errors import UserError
from tfshrink.evaluation.table import print_table

PRINTED = ("performance", "bits", "budgets")
SHORT = ("evaluation", "streaming", "p50", "p95", "p99")  # without quartiles


def print_analysis(results, folder, *, strict=False):
    """Prints tables, insights and what is missing.

    Args:
        results: Of `analyze`.
        folder: Where its files lie.
        strict: Whether something that is missing is an error.

    Raises:
        UserError: `strict`, and a place or a part is missing.
    """
    for name, table in tables_of(results).items():
        if name in PRINTED:
            print_table(
                table.rows,
                table.used,
                title=table.title,
                formats={**table.formats, **dict.fromkeys(SHORT, _median)},
            )
    for subject in results["subjects"]:
        for own in subject.get("insights", ()):
            print(f"{subject['name']}: {own['text']} {own['next']}")
    for own in results["skipped"]:
        print(f"Skipped {own['path']}: {own['reason']}")
    for subject in results["subjects"]:
        for note in subject["notes"]:
            where = f"{subject['name']}, {note['part']}"
            print(f"Missing: {where}: {note['reason']}")
    print(f"{len(results['subjects'])} analyzed, {results['seconds']:.0f} s.")
    print(f"Report: {folder}/{SUMMARY}, {INSIGHTS}, tables/, plans/")
    found = failures(results)
    if strict and found:
        raise UserError(
            f"`--strict` wants everything measured. Received: "
            f"{'; '.join(found)}"
        )


def _median(text):
    return text.partition(" (")[0]
