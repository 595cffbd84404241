"""How much each layer group of a target minds fewer bits."""

import pathlib

from tfshrink.data.progress_bar import progress_bar
from tfshrink.errors import UserError
from tfshrink.evaluation.size import FULL
from tfshrink.search.evaluator import run_identity
from tfshrink.search.sensitivity import FILE
from tfshrink.search.sensitivity import Sensitivity
from tfshrink.search.subject import Subject
from tfshrink.search.sweep import changes
from tfshrink.search.sweep import sweep

MOST = 10  # layer groups that are named


def layer_sensitivity(candidate, model, *, data, prompts, dtype):
    """What `bin/sensitivity` left in a run folder, or a short sweep.

    The sweep runs prompts of the `search` split, so that what is chosen by it
    can be judged on the `test` split.

    Args:
        candidate: `Candidate`.
        model: The model of the candidate, loaded.
        data: Text of the prompts.
        prompts: Prompts of 64 tokens, at most.
        dtype: Compute type.

    Returns:
        `(Sensitivity, origin)`: where it is from, in words.

    Raises:
        UserError: A file is there, but damaged or of another run.
    """
    if candidate.workdir:
        path = pathlib.Path(candidate.workdir) / FILE
        if path.exists():
            identity = {
                "model": candidate.source.identity,
                "run": run_identity(candidate),
            }
            return Sensitivity.load(path, identity), FILE
    subject = Subject(
        model=candidate.model,
        workdir=candidate.workdir,
        data=data,
        prompts=prompts,
        dtype=dtype,
    )
    evaluator = subject.evaluator(candidate, more=("kl",))
    evaluator.model = model
    widths = block_widths(candidate)
    total = len(list(changes(candidate.plans[0].names, widths)))
    with progress_bar(f"{candidate.name}: sensitivity", total) as show:
        found = sweep(evaluator, widths, progress=lambda done: show(done, 0))
    count = len(evaluator.prompts.lengths)
    return found, f"{count} prompts of {data} (search)"


def block_widths(candidate):
    """Bit-widths below 16 that the blocks of some plan have, most first."""
    found = {
        bits
        for plan in candidate.plans
        for bits in plan.bits[: 4 * plan.layers]
        if bits < FULL
    }
    return tuple(sorted(found, reverse=True))


def most_sensitive(sensitivity, plans):
    """The layer groups that mind most, at each bit-width.

    Args:
        sensitivity: `Sensitivity`.
        plans: List of `Plan`: outside of blocks only their own bits count.

    Returns:
        List of dicts, fewest bits last: `bits`, `groups` (at most `MOST` dicts
        of `name`, `kl` in nats and `share` of the sum over all groups).
    """
    table, widths = sensitivity.table()
    outside = {b for plan in plans for b in plan.bits[4 * plan.layers :]}
    rows = []
    for column, bits in zip(table.T, widths, strict=True):
        pairs = zip(sensitivity.names, column, strict=True)
        own = [
            (name, float(kl))
            for name, kl in pairs
            if kl == kl and (name.startswith("block_") or bits in outside)
        ]
        total = sum(max(kl, 0.0) for _, kl in own)
        own = sorted(own, key=lambda pair: -pair[1])[:MOST]
        groups = [
            {"name": name, "kl": kl, "share": kl / total if total else 0.0}
            for name, kl in own
        ]
        rows.append({"bits": bits, "groups": groups})
    return rows


def check_whole(plans):
    """Raises a `UserError` for plans whose single changes say too little."""
    for plan in plans:
        if plan.removes or plan.pruning:
            raise UserError(
                f"`plan` {plan.name} removes weights, heads or channels: mixed "
                "bits beside them are for bin/search"
            )
