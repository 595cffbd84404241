"""An encoder-decoder: what can be said of it."""

from tfshrink.analysis.bit_map import bit_map
from tfshrink.evaluation.size import adapter_ranks


def translation_performance(candidate, settings):
    """Quality of a run that translates, in the form of other performances.

    Args:
        candidate: `Candidate` of the run.
        settings: `AnalysisSettings`, of which data, limit and dtype count.

    Returns:
        A dict of `protocol`, `reference` and `plans`, a row a plan and beam.
        Nothing is timed but whole translations (`seconds`).
    """
    from tfshrink.evaluation.translation import judge_translation

    found = judge_translation(
        candidate,
        data=settings.data,
        limit=settings.limit,
        dtype=settings.dtype,
    )
    own = f"{found['data']} (test, SHA-256 {found['text'][:12]})"
    return {
        "task": "translation",
        "protocol": {"describe": own, "text": found["text"]},
        "timing": None,
        "reference": found["reference"],
        "plans": found["plans"],
    }


def translation_bits(candidate):
    """Bits of the plans of a run that translates, from its config alone."""
    config, ranks = candidate.source.config, adapter_ranks(candidate.precision)
    rows = []
    for plan in candidate.plans:
        cost = candidate.cost(plan, config.context)
        names = ("effective_bits", "bytes", "compression")
        own = {name: cost[name] for name in names}
        own["bit_map"] = bit_map(config, plan, ranks)
        rows.append({"name": plan.name, "group": plan.group, **own})
    return {"plans": rows, "mixed": [], "sensitivity": None, "budgets": []}
