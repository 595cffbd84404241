"""Rows of results: the reference, and each plan beside it."""

from tfshrink.evaluation.kv_cost import kv_cost
from tfshrink.evaluation.size import reference_bytes
from tfshrink.kv_spec import KVSpec
from tfshrink.models.kv_codecs import open_codecs
from tfshrink.structure import plan_tensor


def reference_row(source, protocol, material, **options):
    """The source as it is: a run may have moved norms, so not its model.

    Args:
        source: `Source`.
        protocol: `Protocol`.
        material: `Material`.
        **options: `repeats` and `on_rows` of `Judge`.

    Returns:
        Dict with what the tasks of the protocol found, `bytes` and `bits`.
    """
    from tfshrink.evaluation.judge import Judge
    from tfshrink.models.load import load_model

    model = load_model(source, dtype=protocol.dtype)
    found = Judge(model, protocol, material, **options).measure()
    return {**reference_cost(source), **found}


def reference_cost(source):
    """What is known of a reference before it is run."""
    return {
        "perplexity": None,
        "bytes": reference_bytes(source.config),
        "bits": 16,
        "model": source.name,
    }


def plan_row(candidate, plan, judge, reference):
    """What a plan costs and leaves, beside its reference.

    Args:
        candidate: `Candidate` whose model is judged.
        plan: `Plan`.
        judge: `Judge` of that model, its codecs those of the plan.
        reference: Of `reference_row`.
    """
    cost = candidate.cost(plan, judge.protocol.context)
    found = judge.measure(plan_tensor(candidate.source.config, plan))
    row = {
        "name": plan.name,
        "model": candidate.source.name,
        "group": plan.group,
        **cost,
        **found,
        "plan": plan.to_json(),
    }
    if candidate.workdir:
        row["run"] = candidate.name
    if plan.kv is not None:
        row.update(
            kv_cost(
                candidate.source.config,
                plan,
                judge.protocol.context,
                judge.codecs,
            )
        )
    return with_ratios(row, reference)


def with_ratios(row, reference):
    """The row with what its perplexity and accuracy are relative to."""
    if "perplexity" in row:
        row["perplexity_ratio"] = row["perplexity"] / reference["perplexity"]
        # Percent of next tokens per nominal bit of a weight.
        accuracy = 100 * row["token_accuracy"]
        row["accuracy_per_bit"] = accuracy / row["effective_bits"]
    return row


def plan_codecs(plan, source, protocol):
    """The `BlockCodecs` of a plan at the protocol's context, or `None`."""
    if plan.kv is None:
        return None
    return open_codecs(
        KVSpec.from_json(plan.kv), source, length=protocol.context
    )
