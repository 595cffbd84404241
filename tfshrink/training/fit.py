"""The loop of a run: steps, metrics, checkpoints."""

import functools
import os
import time

from tfshrink.data.batches import Batches
from tfshrink.data.progress_bar import progress_bar
from tfshrink.errors import UserError
from tfshrink.models.checkpoint import load_tensors
from tfshrink.models.checkpoint import save_tensors
from tfshrink.plan_checks import check_bits
from tfshrink.training.board import Board
from tfshrink.training.devices import agree_over_machines
from tfshrink.training.devices import total_over_machines
from tfshrink.training.exit_loss import ExitLoss
from tfshrink.training.held_out import HeldOut
from tfshrink.training.pruning_schedule import gradual
from tfshrink.training.pruning_schedule import SCHEDULES
from tfshrink.training.range_test import range_test
from tfshrink.training.schedules import cpt_schedule
from tfshrink.training.schedules import random_schedule
from tfshrink.training.schedules import switch_schedule
from tfshrink.training.styles import STYLES
from tfshrink.training.trainer import RATES
from tfshrink.training.trainer import Trainer

RANGE_TEST = "range_test.json"
LAST = "last.safetensors"
NEXT = "next.safetensors"  # takes the place of the last once it proved good


def fit(model, settings, plans, text, folder, held_out=None, codecs=None):
    """Runs all steps of a run, or those that are left.

    Args:
        model: Built `Decoder`, initialised.
        settings: `TrainSettings`.
        plans: Plans to train.
        text: `Examples`.
        folder: `RunFolder`.
        held_out: `Examples` judged every `eval_every` steps, or `None`.
        codecs: As in `Trainer`.

    Raises:
        DivergedError: the loss is no longer finite; the last checkpoint is
            from before.
    """
    batches = Batches(text, batch_size=settings.batch_size, seed=settings.seed)
    trainer = make_trainer(model, settings, plans, codecs)
    if settings.range_test:
        low = lowest_bits(trainer, settings, plans, batches, folder)
        trainer.style = make_style(model, settings, plans, low=low)
    judge = held_out and HeldOut(model, plans, held_out)
    run_steps(trainer, batches, settings, folder, judge)


def run_steps(trainer, batches, settings, folder, judge=None):
    """Runs the steps that a run's folder lacks, and notes them there.

    Args:
        trainer: `Trainer`.
        batches: Its `at` gives the batch of a step.
        settings: `TrainSettings`.
        folder: `RunFolder`.
        judge: Its `measure` says every `eval_every` steps how good the model
            is; `None` is nobody.

    Raises:
        DivergedError: As in `fit`.
    """
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
            promote(folder)  # this step's losses were finite
            tokens += metrics["tokens"]
            record = {
                "step": step + 1,
                **metrics,
                "seconds": seconds,
                "tokens_per_second": metrics["tokens"] / seconds,
            }
            folder.log(record)
            board.write(step + 1, record)
            if judge and (step + 1) % settings.eval_every == 0:
                record = {"step": step + 1, "eval": judge.measure()}
                folder.log(record)
                board.write(step + 1, record)
            bar(step + 1, tokens)
            late = time.monotonic() - saved > 60 * settings.checkpoint_minutes
            # Machines write the same steps, for a resume of them all.
            late = total_over_machines(late) > 0
            if late or step + 1 == settings.total_steps:
                save(folder, trainer, step + 1)
                saved = time.monotonic()
    trainer.check_variables(settings.total_steps - 1)
    promote(folder)
    board.close()


def lowest_bits(trainer, settings, plans, batches, folder):
    """Fewest bits of `cpt`, from the range test of this run."""
    path = folder.path / RANGE_TEST
    agree_over_machines(int(path.exists()), str(path))
    if not path.exists():
        found = range_test(
            trainer, batches.at, plans[0], trainer.model.precision.widths
        )
        folder.write(RANGE_TEST, found)
    low = folder.read(RANGE_TEST).get("low")
    check_bits(low, str(path))
    return low


def make_trainer(model, settings, plans, codecs=None):
    """The trainer and style that the settings ask for."""
    factor = settings.learning_rate / RATES["adapters"]
    parts = tuple(settings.train.split(","))
    exits = None
    if model.exits is not None:
        exits = ExitLoss(
            model,
            steps=settings.total_steps,
            weights=settings.exit_weights,
            vocabulary=settings.exit_vocabulary,
            curriculum=settings.curriculum,
            layer_dropout=settings.layer_dropout,
            # Without a teacher to please, the text is all there is.
            cross_entropy=settings.cross_entropy if settings.distill else 1.0,
            frozen=parts == ("exits",),
            seed=settings.seed,
        )
    return Trainer(
        model,
        style=make_style(model, settings, plans),
        steps=settings.total_steps,
        parts=parts,
        rates={name: rate * factor for name, rate in RATES.items()},
        distill=settings.distill,
        cross_entropy=settings.cross_entropy,
        accumulation=settings.accumulation,
        bit_rates=settings.bit_rates,
        codecs=codecs,
        exits=exits,
    )


def make_style(model, settings, plans, *, low=None):
    """Function of a step to updates; `low` is the fewest bits of `cpt`."""
    function, schedule = STYLES[settings.style]
    schedule = make_schedule(schedule, model, settings, plans, low=low)
    style = functools.partial(function, plans=plans, schedule=schedule)
    if not any(plan.pruning for plan in plans):
        return style
    end = settings.pruning_end or 3 * settings.total_steps // 4
    begin = min(settings.pruning_begin, end - 1)
    return gradual(style, SCHEDULES[settings.pruning_schedule](begin, end))


def make_schedule(name, model, settings, plans, *, low=None):
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
            low=low or min(widths),
            high=max(widths),
            pattern=pattern,
            layer_offset=settings.layer_offset,
        )
        # The second phase fine-tunes one static plan.
        return lambda step: cycle(step) if step < total else plans[-1]
    return lambda step: plans[0]


def save(folder, trainer, step):
    """Writes what an exact resume needs, whole or not at all.

    What a step left behind shows only in the losses of the next one: until
    then the checkpoint before it stays the last good one.
    """
    tensors = trainer.snapshot()
    save_tensors(folder.checkpoints / NEXT, tensors, {"step": step})


def promote(folder):
    """Makes the newest checkpoint, if there is one, the last good one."""
    path = folder.checkpoints / NEXT
    if path.exists():
        os.replace(path, folder.checkpoints / LAST)


def restore(folder, trainer):
    """Restores the last checkpoint; returns the steps that are done."""
    path = folder.checkpoints / LAST
    (folder.checkpoints / NEXT).unlink(missing_ok=True)  # never proved good
    tensors, metadata = load_tensors(path) if path.exists() else ({}, {})
    step = metadata.get("step", "0")
    step = int(step) if step.isdigit() else 0
    agree_over_machines(step, f"{path}, or its step,")
    if not path.exists():
        return 0
    shapes = {name: tuple(v.shape) for name, v in trainer.state().items()}
    found = {name: value.shape for name, value in tensors.items()}
    if found != shapes or not metadata.get("step", "").isdigit():
        raise UserError(
            f"{path} must hold the state of this run. Received: "
            f"{len(found)} tensors, expected {len(shapes)}"
        )
    trainer.restore(tensors)
    return int(metadata["step"])
