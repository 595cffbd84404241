"""The best plan within each number of bytes."""

import dataclasses

import numpy as np

from tfshrink.evaluation.size import adapter_ranks
from tfshrink.evaluation.size import FULL
from tfshrink.evaluation.size import group_bytes
from tfshrink.evaluation.size import model_bytes
from tfshrink.search.knapsack import Knapsack

COUNT = 5  # mixed plans that are proposed, and budgets


def mixed_plans(candidate, sensitivity, count=COUNT):
    """Proposes plans of mixed bits: least damage for their bytes.

    The damage of single changes (mean divergence in nats) is taken to add up,
    which is what a measurement of the proposal then says.

    Args:
        candidate: `Candidate` whose plans remove nothing.
        sensitivity: `Sensitivity` of it.
        count: Budgets between the cheapest plan and the best.

    Returns:
        List of `Plan`, the largest first; none where nothing can be chosen.
    """
    config, ranks = candidate.source.config, adapter_ranks(candidate.precision)
    options = _options(candidate.plans, sensitivity)
    first = candidate.plans[0]
    if all(len(own) == 1 for own in options):
        return []
    widths = sorted({bits for own in options for bits in own})
    prices = {
        bits: group_bytes(config, _at(first, [bits] * len(options)), ranks)
        for bits in widths
    }
    damage, price = [], []
    for name, own in zip(first.names, options, strict=True):
        damage.append(list(own.values()))
        price.append([prices[bits][name] for bits in own])
    knapsack, found = Knapsack(damage, price), []
    for choice in knapsack.spread(count):
        pairs = zip(options, choice, strict=True)
        plan = _at(first, [list(own)[index] for own, index in pairs])
        size = model_bytes(config, plan, ranks)
        name = f"mixed-{size / 1e6:.{1 if size > 1e7 else 3}f}MB"
        found.append(dataclasses.replace(plan, name=name))
    return found


def _options(plans, sensitivity):
    """For each layer group its possible bits, and the damage of each."""
    table, measured = sensitivity.table()
    found = []
    for index in range(len(plans[0].bits)):
        inside = index < 4 * plans[0].layers
        used = plans if not inside else ()
        own = {plan.bits[index] for plan in used}
        if inside:
            blocks = (p.bits[: 4 * p.layers] for p in plans)
            own = {b for bits in blocks for b in bits if b < FULL}
        costs = {
            bits: float(table[index, measured.index(bits)])
            for bits in sorted(own, reverse=True)
            if bits in measured
        }
        costs = {bits: cost for bits, cost in costs.items() if cost == cost}
        found.append(costs or {max(own): 0.0})
    return found


def _at(plan, bits):
    return dataclasses.replace(plan, bits=tuple(bits))


def best_within(rows, count=COUNT):
    """The measured plan of least perplexity within each number of bytes.

    Args:
        rows: Of plans: `name`, `bytes`, `perplexity` and what else is told.
        count: Budgets, evenly between the smallest and the largest plan.

    Returns:
        List of dicts, the largest budget first: `budget_bytes` and figures of
        the plan.
    """
    sizes = [row["bytes"] for row in rows]
    found = []
    for budget in np.linspace(max(sizes), min(sizes), count):
        fitting = [row for row in rows if row["bytes"] <= budget + 0.5]
        best = min(fitting, key=lambda row: (row["perplexity"], row["bytes"]))
        found.append({"budget_bytes": round(float(budget)), **_figures(best)})
    return found


def _figures(row):
    names = ("name", "bytes", "compression", "effective_bits", "perplexity")
    more = ("perplexity_ratio", "token_accuracy", "accuracy_per_bit")
    return {name: row.get(name) for name in (*names, *more)}
