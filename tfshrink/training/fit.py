"""The loop of a run: steps, metrics, checkpoints."""

import functools
import time

import numpy as np

from tfshrink.data.batches import Batches
from tfshrink.data.progress_bar import progress_bar
from tfshrink.models.checkpoint import load_tensors
from tfshrink.models.checkpoint import save_tensors
from tfshrink.training.board import Board
from tfshrink.training.schedules import cpt_schedule
from tfshrink.training.schedules import random_schedule
from tfshrink.training.schedules import switch_schedule
from tfshrink.training.styles import STYLES
from tfshrink.training.trainer import RATES
from tfshrink.training.trainer import Trainer

LAST = "last.safetensors"


def fit(model, settings, plans, text, folder):
    """Runs all steps of a run, or those that are left.

    Args:
        model: Built `Decoder`, initialised.
        settings: `TrainSettings`.
        plans: Plans to train.
        text: `Examples`.
        folder: `RunFolder`.

    Raises:
        DivergedError: the loss is no longer finite; the last checkpoint is
            from before.
    """
    batches = Batches(
        text, batch_size=settings.batch_size, seed=settings.seed
    )
    trainer = make_trainer(model, settings, plans)
    first = restore(folder, trainer)
    folder.forget_after(first)
    saved = time.monotonic()
    board = Board(folder.tensorboard if settings.use_tensorboard else None)
    with progress_bar("Training", settings.total_steps) as bar:
        tokens = 0
        for step in range(first, settings.total_steps):
            began = time.monotonic()
            metrics = trainer.step(step, batches.at)
            seconds = time.monotonic() - began
            tokens += metrics["tokens"]
            record = {
                "step": step + 1,
                **metrics,
                "seconds": seconds,
                "tokens_per_second": metrics["tokens"] / seconds,
            }
            folder.log(record)
            board.write(step + 1, record)
            bar(step + 1, tokens)
            late = time.monotonic() - saved > 60 * settings.checkpoint_minutes
            if late or step + 1 == settings.total_steps:
                save(folder, trainer, step + 1)
                saved = time.monotonic()
    board.close()


def make_trainer(model, settings, plans):
    """The trainer and style that the settings ask for."""
    factor = settings.learning_rate / RATES["adapters"]
    function, schedule = STYLES[settings.style]
    schedule = make_schedule(schedule, model, settings, plans)
    return Trainer(
        model,
        style=functools.partial(function, plans=plans, schedule=schedule),
        steps=settings.total_steps,
        parts=tuple(settings.train.split(",")),
        rates={name: rate * factor for name, rate in RATES.items()},
        distill=settings.distill,
        cross_entropy=settings.cross_entropy,
        accumulation=settings.accumulation,
        bit_rates=settings.bit_rates,
    )


def make_schedule(name, model, settings, plans):
    """Plan per step for the styles that train one plan at a time."""
    pattern = [int(b) for b in settings.bit_pattern.split(",") if b]
    total = settings.total_steps - settings.static_steps
    widths = model.precision.widths
    if name == "switch":
        return switch_schedule(
            plans,
            strategy=settings.switch_strategy,
            interval=settings.switch_interval,
            total=total,
            pattern=pattern,
            seed=settings.seed,
        )
    if name == "rpt":
        return random_schedule(plans[0], widths, seed=settings.seed)
    if name == "cpt":
        cycle = cpt_schedule(
            plans[0],
            total=total,
            cycles=settings.cycles,
            low=min(widths),
            high=max(widths),
            pattern=pattern,
            layer_offset=settings.layer_offset,
        )
        # The second phase fine-tunes one static plan.
        return lambda step: cycle(step) if step < total else plans[-1]
    return lambda step: plans[0]


def save(folder, trainer, step):
    """Writes what an exact resume needs, whole or not at all."""
    tensors = {name: np.asarray(v) for name, v in trainer.state().items()}
    save_tensors(folder.checkpoints / LAST, tensors, {"step": step})


def restore(folder, trainer):
    """Restores the last checkpoint; returns the steps that are done."""
    path = folder.checkpoints / LAST
    if not path.exists():
        return 0
    tensors, metadata = load_tensors(path)
    for name, variable in trainer.state().items():
        variable.assign(tensors[name])
    return int(metadata["step"])
