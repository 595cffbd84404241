"""Where a run starts: an earlier run's checkpoint, or initialisation."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np

from tfshrink.errors import UserError
from tfshrink.models.checkpoint import holds_exits
from tfshrink.models.checkpoint import load_model_state
from tfshrink.models.checkpoint import load_tensors
from tfshrink.models.checkpoint import save_model
from tfshrink.models.run import FINAL
from tfshrink.models.run import read_run
from tfshrink.structure import removed_parts
from tfshrink.training.devices import agree_over_machines

START = "start.safetensors"  # what initialisation left
# What a run may have trained that another starts from: the teacher and every
# later evaluation take all else from the source.
OWN_PARTS = {"adapters", "exits", "latents", "scales"}


def earlier_start(settings, source, precision, plans):
    """Reads what `start` names, before anything is written.

    Args:
        settings: `TrainSettings`.
        source: Source of the model.
        precision: `PrecisionConfig` of the run.
        plans: Its `Plan`s.

    Returns:
        `(tensors, metadata)`, or `None` where `start` is empty.

    Raises:
        UserError: it is no such checkpoint, or of another model or structure.
    """
    if not settings.start:
        return None
    path = Path(settings.start)
    if path.parent.name != "checkpoints" or path.name not in (START, FINAL):
        raise UserError(
            f"`start` must be {START} or {FINAL} in the checkpoints/ of a "
            f"run folder. Received: {path}"
        )
    try:
        config, theirs, others = read_run(path.parents[1], path.name)
    except UserError as error:
        raise UserError(f"`start` must lie in a run folder. {error}") from error
    parts = config.get("settings", {}).get("train", "unknown parts")
    trained = set(parts.split(","))
    if path.name == FINAL and trained - OWN_PARTS:
        raise UserError(
            f"`start` must be of a run that trained only "
            f"{', '.join(sorted(OWN_PARTS))}. Received: {path}, which trained "
            f"{', '.join(sorted(trained))}"
        )
    identities = source.identity, config.get("identity")
    own, other = (json.dumps(x, sort_keys=True) for x in identities)
    if own != other or precision != theirs:
        raise UserError(
            "`start` must be of a run with this model, widths, ranks, group "
            f"and bank: {own}, {precision}. Received: {path} of {other}, "
            f"{theirs}"
        )
    removing = [any(plan.removes for plan in own) for own in (plans, others)]
    if removing == [True, False]:
        raise UserError(
            "`start` must be of a run that removes heads or channels, as this "
            f"one does: they are sorted there. Received: {path}"
        )
    return load_tensors(path)


def check_same_start(folder, text):
    """Raises a `UserError` unless all machines have one start and one text."""
    path = folder.checkpoints / START
    digest = hashlib.sha256(path.read_bytes() + text.tokens.tobytes())
    agree_over_machines(
        int(digest.hexdigest()[:4], 16),
        f"{path}, with the generated text in {folder.path},",
    )


def start_values(model, settings, text, folder, precision, plans):
    """Sets scales and codes, or restores what an earlier try set."""
    from tfshrink.data.progress_bar import progress_bar
    from tfshrink.training.exit_fit import start_exits

    path = folder.checkpoints / START
    rng = np.random.default_rng(settings.seed)
    rows = rng.permutation(len(text))[: settings.init_rows]
    rows = text.tokens[rows]
    if path.exists():
        load_model_state(path, model)
        if model.exits is None or holds_exits(path):
            return
    else:
        _set_precision(model, settings, rows, folder, precision, plans)
    if model.exits is not None:
        with progress_bar("Starting exits", 1) as progress:
            start_exits(model, rows)
            progress(1, 0)
    save_model(path, model)


def _set_precision(model, settings, rows, folder, precision, plans):
    """Sets order, folds, scales and codes."""
    from tfshrink.data.progress_bar import progress_bar
    from tfshrink.models.importance import order_by_importance
    from tfshrink.models.load import fit_scales
    from tfshrink.training.initialisation import initialise
    from tfshrink.training.initialisation import smooth

    calibrated = settings.init in ("awq", "blockwise", "gptq")
    plain = sorted(set(precision.widths) - set(precision.banked))
    removed = [removed_parts(model.config, plan) for plan in plans]
    if any(plan.removes for plan in plans):
        with progress_bar("Ordering", len(model.blocks)) as progress:
            order_by_importance(
                model, rows, progress=lambda done: progress(done, 0)
            )
    if settings.smooth:
        with progress_bar("Smoothing", len(model.blocks)) as progress:
            smooth(
                model,
                rows,
                settings.smooth,
                progress=lambda done: progress(done, 0),
            )
    fit_scales(model, sorted({8, *plain}), method="mse")
    if not calibrated:
        initialise(model, None, method=settings.init)
    else:
        with progress_bar("Initialising", len(model.blocks)) as progress:
            reports = initialise(
                model,
                rows,
                method=settings.init,
                # What only some plans remove, others still need.
                removed=_common(removed),
                fit={"epochs": settings.init_epochs},
                progress=lambda done: progress(done, 0),
            )
        folder.write(
            "initialisation.json", [dataclasses.asdict(r) for r in reports]
        )


def _common(removed):
    """What all plans remove, a pair a block; `None` where that is nothing.

    Args:
        removed: `removed_parts` of each plan.
    """
    least = np.min(removed, axis=0)
    return least.tolist() if least.any() else None
