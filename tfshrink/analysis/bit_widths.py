"""Bits of a target: what they cost, what they leave, how to spend them."""

from tfshrink.analysis.bit_budgets import best_within
from tfshrink.analysis.bit_budgets import mixed_plans
from tfshrink.analysis.bit_map import bit_map
from tfshrink.analysis.layer_sensitivity import block_widths
from tfshrink.analysis.layer_sensitivity import check_whole
from tfshrink.analysis.layer_sensitivity import layer_sensitivity
from tfshrink.analysis.layer_sensitivity import most_sensitive
from tfshrink.analysis.target import EXPORT
from tfshrink.errors import UserError
from tfshrink.evaluation.size import adapter_ranks
from tfshrink.plan import Plan

# What a row of a plan says of its bits.
FIGURES = (
    "name",
    "group",
    "effective_bits",
    "bytes",
    "compression",
    "perplexity",
    "perplexity_ratio",
    "token_accuracy",
    "accuracy_per_bit",
    "standard_error",
)


def bit_widths(target, measurements, settings):
    """Analyzes the bits of a target's plans, and proposes better ones.

    Args:
        target: `Target` of a decoder.
        measurements: Its `Measurements`.
        settings: `AnalysisSettings`.

    Returns:
        `(found, notes)`. A dict: `plans`, rows of `FIGURES` and `bit_map`;
        `mixed`, the same of proposed plans, measured; `sensitivity` (`origin`
        and what `most_sensitive` returns as `widths`, or `None`) and
        `budgets`, of `best_within`, where there is more than one plan. And
        reasons why something is missing, a list of strings.
    """
    if target.kind == EXPORT:
        rows = [_export_row(target, row) for row in measurements.rows()]
        empty = {"mixed": [], "sensitivity": None, "budgets": []}
        return {"plans": rows, **empty}, []
    plans, mixed, sensitivity, notes = [], [], None, []
    for number, one in enumerate(target.candidates):
        plans += [_row(one, measurements, number, plan) for plan in one.plans]
        if not settings.prompts or len(block_widths(one)) < 2:
            continue
        try:
            sensitivity, proposed = _proposed(one, measurements, number)
        except UserError as error:
            notes.append(f"no mixed plans: {error}")
            continue
        known = {plan.hash for plan in one.plans}
        mixed += [
            _row(one, measurements, number, plan)
            for plan in proposed
            if plan.hash not in known
        ]
    both = [*plans, *mixed]
    return {
        "plans": plans,
        "mixed": mixed,
        "sensitivity": sensitivity,
        "budgets": best_within(both) if len(both) > 1 else [],
    }, notes


def _row(one, measurements, number, plan):
    row = _figures(measurements.row(number, plan))
    ranks = adapter_ranks(one.precision)
    own = bit_map(one.source.config, plan, ranks)
    return {**row, "bit_map": own, "plan": plan.to_json()}


def _export_row(target, row):
    """The row of an export: where the bytes of a file are it does not say."""
    plan = Plan.from_json(row["plan"])
    own = bit_map(target.source.config, plan)
    for group in own["groups"]:
        del group["bytes"], group["adapter_bytes"]
    return {**_figures(row), "bit_map": {**own, "shares": {}}}


def _figures(row):
    return {name: row[name] for name in FIGURES if name in row}


def _proposed(one, measurements, number):
    """What the layer groups mind, and mixed plans by that."""
    check_whole(one.plans)
    settings = measurements.settings
    found, origin = layer_sensitivity(
        one,
        measurements.judged(number).model,
        data=settings.data,
        prompts=settings.prompts,
        dtype=settings.dtype,
    )
    told = {"origin": origin, "widths": most_sensitive(found, one.plans)}
    return told, mixed_plans(one, found)
