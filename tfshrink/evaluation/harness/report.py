"""What tasks of lm-evaluation-harness found, for people."""

from tfshrink.evaluation.table import markdown_table
from tfshrink.evaluation.table import print_table

COLUMNS = {
    "run": "run",
    "model": "model",
    "name": "plan",
    "task": "task",
    "metric": "metric",
    "value": "value",
    "stderr": "stderr",
    "samples": "examples",
    "shots": "shots",
}
FORMATS = {"value": ".4f", "stderr": ".4f"}


def harness_rows(plans):
    """One row a plan, task and metric.

    Args:
        plans: Rows of `results.json`; those without `lm_eval` have none.
    """
    return [
        {
            **{key: plan.get(key) for key in ("run", "model", "name")},
            "task": task,
            "metric": metric,
            **values,
            "samples": own["samples"],
            "shots": own["shots"],
        }
        for plan in plans
        for task, own in plan.get("lm_eval", {}).get("tasks", {}).items()
        for metric, values in own["metrics"].items()
    ]


def print_harness(plans, *, markdown=False):
    """Prints a table of them, where there are some.

    Args:
        plans: As in `harness_rows`.
        markdown: Prints Markdown instead.
    """
    rows = harness_rows(plans)
    if not rows:
        return
    columns = {
        key: heading
        for key, heading in COLUMNS.items()
        if any(row.get(key) is not None for row in rows)
    }
    if len({row["model"] for row in rows}) < 2:
        columns.pop("model", None)
    version = next(p["lm_eval"]["version"] for p in plans if "lm_eval" in p)
    title = f"lm-evaluation-harness {version}"
    if markdown:
        print(f"{title}:\n")
        print(markdown_table(rows, columns, formats=FORMATS) + "\n")
    else:
        print_table(rows, columns, title=title, formats=FORMATS)
