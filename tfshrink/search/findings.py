"""What a search leaves: front, plans, log, plot and results."""

import csv

from tfshrink.evaluation.results import build_results
from tfshrink.evaluation.results import write_results
from tfshrink.files import atomic_write
from tfshrink.files import plain
from tfshrink.plan import Plan
from tfshrink.search.evaluator import COSTS
from tfshrink.search.front import cheapest_if_relaxed
from tfshrink.search.front import front

LOG = "log.csv"
RELAXED = (0.0, 0.05, 0.1, 0.15, 0.2)  # thresholds that are looked at besides
# Columns of the tables; what else a record holds is for resuming.
SHOWN = (
    "plan",
    "effective_bits",
    "bytes",
    "compression",
    "kv",
    "kv_bytes",
    "memory",
    "exit",
    "exit_rate",
    "layers",
    "weights_read",
    "read_bytes",
    "scaled_flops",
    "bit_operations",
    "margin",
    "satisfied",
    "satisfied_share",
    "perplexity",
    "mean_jsd",
    "latency",
    "f1",
    "kl",
)


def write_findings(problem, folder, where, seconds):
    """Writes front, plans, log and plot; returns the `results.json`."""
    from tfshrink.report.front_plot import draw_front

    records = problem.ledger.records()
    objectives = problem.settings.objective_names
    chosen, feasible = front(records, objectives)
    plans = []
    for number, record in enumerate(chosen, 1):
        plan = problem.plan(record["point"], name=f"front-{number:02d}")
        plan.save(folder.path / "plans" / f"{plan.name}.json")
        plans.append({**record, "plan": plan.name, "plan_json": plan.to_json()})
    _forget_others(folder.path / "plans", [row["plan"] for row in plans])
    _write_csv(folder.path / "front.csv", plans)
    _write_csv(folder.path / LOG, records)
    if where.output_csv:
        _write_csv(where.output_csv, plans)
    draw_front(records, chosen, objectives, folder.path / "front.png")
    evaluator = problem.evaluator
    reference = {
        **evaluator.reference_cost,
        "perplexity": evaluator.judge.reference_perplexity,
    }
    results = build_results(
        evaluator.candidate.source.name,
        reference,
        [
            {
                **{k: v for k, v in row.items() if k != "plan_json"},
                "name": row["plan"],
                "plan": row["plan_json"],
                "cost_ratio": reference["scaled_flops"] / row["scaled_flops"],
            }
            for row in plans
        ],
        seconds=seconds,
        search={
            "feasible": feasible,
            "judged": len(records),
            "objectives": objectives,
            "method": problem.settings.method,
            "variables": sorted({v.kind for v in problem.space.variables}),
            "requirement": evaluator.requirement.to_json(),
            "prompts": len(evaluator.prompts),
            "relaxed": cheapest_if_relaxed(
                records, evaluator.requirement, RELAXED
            ),
        },
    )
    write_results(folder.path / "results.json", results)
    return results


def _forget_others(folder, names):
    """Removes plans of an earlier front of the same search."""
    for path in folder.glob("front-*.json") if folder.exists() else ():
        if path.stem not in names:
            path.unlink()


def _write_csv(path, rows):
    keys = [key for key in SHOWN if any(key in row for row in rows)]
    more = {k for row in rows for k in row if k.startswith("margin_")}
    keys += sorted(more) + ["hash"]
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, keys, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(plain(row) for row in rows)


def best_plan(results):
    """The `Plan` that is the cheapest of those that satisfy, or `None`."""
    if not results["search"]["feasible"] or not results["plans"]:
        return None
    names = [n for n in results["search"]["objectives"] if n in COSTS]
    cost = names[0] if names else COSTS[0]
    row = min(results["plans"], key=lambda row: row[cost])
    return Plan.from_json(row["plan"])
