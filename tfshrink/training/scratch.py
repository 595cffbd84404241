"""Training a model that begins as random numbers."""

import dataclasses
import time

from tfshrink.data.subwords import as_transformers
from tfshrink.data.subwords import save_subwords
from tfshrink.data.translation import load_pairs
from tfshrink.errors import UserError
from tfshrink.evaluation.judged_text import JudgedText
from tfshrink.models.checkpoint import save_model
from tfshrink.models.load import fit_scales
from tfshrink.models.load import load_model
from tfshrink.models.run import FINAL
from tfshrink.models.sources.scratch import TOKENIZER
from tfshrink.run_folder import RunFolder
from tfshrink.training.exit_fit import fit_exits
from tfshrink.training.exit_loss import ExitLoss
from tfshrink.training.fit import make_style
from tfshrink.training.fit import run_steps
from tfshrink.training.schedules import cosine_rate
from tfshrink.training.schedules import noam_rate
from tfshrink.training.scratch_loss import ScratchLoss
from tfshrink.training.scratch_text import ScratchText
from tfshrink.training.train import exit_config
from tfshrink.training.train import judge
from tfshrink.training.train import judge_protocol
from tfshrink.training.train import structure
from tfshrink.training.train import write_config
from tfshrink.training.trainer import Trainer

RATES = {"cosine": cosine_rate, "noam": noam_rate}
HELD = 8  # batches that fit light head and classifiers
FULL = 16  # bits from which on nothing is rounded
PARTS = {"embeddings", "exits", "norms", "weights"}
# Settings that such a run has no use for, and what they must be.
UNUSED = {
    "bit_rates": (False,),
    "cross_entropy": (0.0,),
    "devices": (0, 1),
    "eval_every": (0,),
    "kv": ("",),
    "range_test": (False,),
    "remat": (False,),
    "smooth": (0.0,),
    "start": ("",),
}


def train_scratch(
    settings, source, *, workdir=None, overwrite=False, folder=None
):
    """Trains a model of a named shape on text or pairs, from nothing.

    The run folder gets the tokenizer that was learned from the text.

    Args:
        settings: `TrainSettings`.
        source: `ScratchSource`.
        workdir: As in `train`.
        overwrite: As in `train`.
        folder: `RunFolder` of a run to continue, or `None`.

    Returns:
        As `train` does.

    Raises:
        UserError: as `train` does.
    """
    start, resumed = time.monotonic(), folder is not None
    config = source.config
    exits = exit_config(settings, config)
    precision, plans = checked_structure(settings, config)
    text = ScratchText.load(settings, config)
    subwords = None if resumed else text.subwords()
    if resumed:
        source.folder = folder.path
        tokenizer = source.tokenizer()
    else:
        tokenizer = as_transformers(subwords, context=config.context)
    batches = text.batches(tokenizer, config)
    held = exits and text.batches(tokenizer, config, "held")
    if not resumed:
        # What the run needs later is tried before it begins.
        if exits:
            count = len(tokenizer)
            exits.check(dataclasses.replace(config, vocabulary=count))
        _check_judged(settings, config, tokenizer)
        folder = RunFolder(workdir, name=settings.style, overwrite=overwrite)
        # First of all what makes the folder one that --overwrite replaces.
        folder.write("plan.json", plans[-1].to_json())
        save_subwords(subwords, folder.path / TOKENIZER)
        write_config(folder, settings, source, precision, plans, exits)
        source.folder = folder.path
    model = scratch_model(settings, source, precision, exits)
    trainer = scratch_trainer(model, settings, plans)
    run_steps(trainer, batches, settings, folder)
    if exits:
        rows = [held.at(step) for step in range(HELD)]
        folder.write("exits.json", fit_exits(model, settings, plans, rows))
    fit_scales(model, precision.widths)  # of the weights as they are now
    save_model(folder.checkpoints / FINAL, model, weights=True)
    del model, trainer
    seconds = None if resumed else time.monotonic() - start
    if config.encoder_layers:
        from tfshrink.evaluation.translation import judge_run

        results = judge_run(folder.path)
        results["training_seconds"] = seconds
        folder.write("results.json", results)
        return results, str(folder.path)
    protocol = judge_protocol(settings, config)
    return judge(protocol, folder, seconds), str(folder.path)


def checked_structure(settings, config):
    """As `structure`, of settings that such a run can heed.

    Raises:
        UserError: It cannot: all it learns is at full precision.
    """
    for name, allowed in UNUSED.items():
        if getattr(settings, name) not in allowed:
            raise UserError(
                f"`{name}` must be {allowed[0]!r} for a model from scratch. "
                f"Received: {getattr(settings, name)!r}"
            )
    other = set(settings.train.split(",")) - PARTS
    if other:
        raise UserError(
            f"`train` must be of {','.join(sorted(PARTS))} for a model from "
            f"scratch. Received: {','.join(sorted(other))}"
        )
    precision, plans = structure(settings, config)
    for plan in plans:
        if min(plan.bits) < FULL or plan.removes or plan.pruning or plan.kv:
            raise UserError(
                f"`plan` must be {FULL} or 32 for a model from scratch: "
                "bin/evaluate --workdir takes others once it is trained. "
                f"Received: {plan.name}"
            )
    return precision, plans


def _check_judged(settings, config, tokenizer):
    """Raises a `UserError` where a run could not be judged at its end."""
    if not config.encoder_layers:
        JudgedText.load(judge_protocol(settings, config), tokenizer)
        return
    from tfshrink.evaluation.translation import TEXT

    if settings.eval_data != TEXT:
        load_pairs(settings.eval_data, "test", 1)


def scratch_model(settings, source, precision, exits):
    """The model, as random as its source."""
    return load_model(
        source,
        precision=precision,
        dtype=settings.dtype,
        fit=False,
        exits=exits,
    )


def scratch_trainer(model, settings, plans):
    """The `Trainer` of such a run."""
    parts = tuple(settings.train.split(","))
    exits = None
    if model.exits is not None:
        exits = ExitLoss(
            model,
            steps=settings.total_steps,
            weights=settings.exit_weights,
            curriculum=settings.curriculum,
            layer_dropout=settings.layer_dropout,
            frozen=False,
            seed=settings.seed,
        )
    return Trainer(
        model,
        style=make_style(model, settings, plans),
        steps=settings.total_steps,
        parts=parts,
        rates=dict.fromkeys(parts, settings.learning_rate),
        distill=False,
        accumulation=settings.accumulation,
        exits=exits,
        objective=ScratchLoss(
            model,
            smoothing=settings.label_smoothing,
            dropout=settings.dropout,
            exits=exits,
            seed=settings.seed,
        ),
        rate_of=RATES[settings.rate_schedule],
    )


def try_scratch(settings, source, place):
    """What a dry run needs of such a run.

    Args:
        settings: `TrainSettings`.
        source: `ScratchSource`.
        place: Folder, of which nobody needs anything later.

    Returns:
        `(model, trainer, plans, batches, text)`: the text in words.
    """
    precision, plans = checked_structure(settings, source.config)
    exits = exit_config(settings, source.config)
    text = ScratchText.load(settings, source.config)
    subwords = text.subwords()
    save_subwords(subwords, f"{place}/{TOKENIZER}")
    source.folder = place
    batches = text.batches(source.tokenizer(), source.config)
    model = scratch_model(settings, source, precision, exits)
    kind = "pairs" if text.encoder else "documents"
    words = (
        f"{len(text.train)} {kind}, {subwords.get_vocab_size()} subwords, "
        f"{len(batches)} batches an epoch"
    )
    return model, scratch_trainer(model, settings, plans), plans, batches, words
