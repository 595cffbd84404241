"""Training a model that begins as random numbers."""

import time

from tfshrink.data.subwords import save_subwords
from tfshrink.errors import UserError
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
from tfshrink.training.trainer import Trainer

RATES = {"cosine": cosine_rate, "noam": noam_rate}
HELD = 8  # batches that fit light head and classifiers


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
    from tfshrink.training.train import exit_config
    from tfshrink.training.train import structure

    start = time.monotonic()
    if settings.eval_every:
        raise UserError(
            "`eval_every` must be 0 for a model from scratch: it is judged at "
            f"the end. Received: {settings.eval_every}"
        )
    text = ScratchText.load(settings, source.config)
    exits = exit_config(settings, source.config)
    precision, plans = structure(settings, source.config)
    resumed = folder is not None
    if not resumed:
        subwords = text.subwords()
        folder = RunFolder(workdir, name=settings.style, overwrite=overwrite)
        save_subwords(subwords, folder.path / TOKENIZER)
        folder.write("plan.json", plans[-1].to_json())
        folder.write(
            "config.json",
            {
                "model": settings.model,
                "settings": settings.to_json(),
                "precision": precision.to_json(),
                "plans": [plan.to_json() for plan in plans],
                "exits": exits and exits.to_json(),
                "identity": source.identity,
            },
        )
    source.folder = folder.path
    model = load_model(
        source,
        precision=precision,
        dtype=settings.dtype,
        fit=False,
        exits=exits,
    )
    tokenizer = source.tokenizer()
    batches = text.batches(tokenizer, source.config)
    trainer = scratch_trainer(model, settings, plans)
    run_steps(trainer, batches, settings, folder)
    if exits:
        held = text.batches(tokenizer, source.config, "held")
        rows = [held.at(step) for step in range(HELD)]
        folder.write("exits.json", fit_exits(model, settings, plans, rows))
    fit_scales(model, precision.widths)  # of the weights as they are now
    save_model(folder.checkpoints / FINAL, model, weights=True)
    del model, trainer
    seconds = None if resumed else time.monotonic() - start
    if source.config.encoder_layers:
        from tfshrink.evaluation.translation import judge_run

        results = judge_run(folder.path)
        results["training_seconds"] = seconds
        folder.write("results.json", results)
        return results, str(folder.path)
    from tfshrink.training.train import judge
    from tfshrink.training.train import judge_protocol

    protocol = judge_protocol(settings, source.config)
    return judge(protocol, folder, seconds), str(folder.path)


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
