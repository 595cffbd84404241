"""Loss by precision over the cycles of a run that trains one at a time."""

import pathlib

import numpy as np

from tfshrink.errors import UserError
from tfshrink.models.run import read_run
from tfshrink.run_folder import read_metrics
from tfshrink.training.settings import TrainSettings

METRICS = "metrics.jsonl"
PART = 10  # a tenth of the steps: the end of a run, and what is before that
PREFIX = "cpt-"  # of what `cpt` calls a plan: behind it are its bits


def cycle_analysis(workdir):
    """Reads the losses that a run noted, cycle by cycle.

    A cycle is that of the schedule: of `cpt` one period of its cosine or
    pattern, of `switch` one turn of all plans or of the pattern (of
    `progressive` the run; `random` has none), of `cyclic` one step. What `cpt`
    trains behind its cycles, one static plan, is told apart.

    Args:
        workdir: Run folder of `bin/train`.

    Returns:
        A dict: `style`, `steps` (noted), `period` (steps of a cycle), `cycles`
        (dicts of `cycle` from 1, `first_step`, `last_step`, `whole` and, by
        precision, `losses`, their mean in nats, and `counts`), `change` (by
        precision `first` and `last`, of the first and the last whole cycle
        that trained it), `static` (`first` and `last`, mean losses of a tenth
        of its steps; `None` without) and `trend` (`before` and `last`, mean
        losses of the last two tenths of the steps, or, where steps differ in
        what they train, of the last two whole cycles; `part` says which; `None`
        of too few). Of a style without cycles `period` is `None`, and there
        are none.

    Raises:
        UserError: The folder holds no finished run, tells no losses, or was
            written by another version.
    """
    config, _, plans = read_run(workdir)
    try:
        settings = TrainSettings(**config["settings"])
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{workdir}/config.json must have the settings of this version's "
            f"bin/train. Received: {type(error).__name__}: {error}"
        ) from error
    lines = _losses(pathlib.Path(workdir) / METRICS)
    period, end = schedule_period(settings, plans)
    cycles = []
    if period:
        within = [line for line in lines if line[0] <= end]
        cycles = _cycles(within, period, end)
    behind = _means([line for line in lines if line[0] > end])
    return {
        "style": settings.style,
        "steps": len(lines),
        "period": period,
        "cycles": cycles,
        "change": _change(cycles),
        "static": _ends(behind),
        "trend": _trend(lines, cycles, behind),
    }


def schedule_period(settings, plans):
    """Steps of a cycle, and the last step that has one.

    Args:
        settings: `TrainSettings`.
        plans: List of the run's `Plan`s.

    Returns:
        `(period, end)`; the period is `None` of a style without cycles.
    """
    total = settings.total_steps - settings.static_steps
    pattern = [part for part in settings.bit_pattern.split(",") if part]
    if settings.style == "cpt":
        period = max(1, total // settings.cycles)
        return period, total
    turns = {"cyclic": len(plans), "scheduled": len(pattern)}
    if settings.style == "switch":
        if settings.switch_strategy == "progressive":
            return total, total
        turn = turns.get(settings.switch_strategy)
        return turn and turn * settings.switch_interval, total
    return (1 if settings.style == "cyclic" else None), total


def _losses(path):
    """`(step, losses by plan)` of every step that was noted."""
    try:
        lines = [line for line in read_metrics(path) if "losses" in line]
        found = [
            (int(line["step"]), {k: float(v) for k, v in own.items()})
            for line in lines
            if (own := line["losses"])
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} must hold what bin/train notes of its steps. Received: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not found:
        raise UserError(f"{path} must hold the losses of a run. Received: none")
    return found


def _cycles(lines, period, end):
    found = {}
    for step, own in lines:
        cycle = found.setdefault((step - 1) // period, {})
        for name, loss in own.items():
            cycle.setdefault(name.removeprefix(PREFIX), []).append(loss)
    noted = {step for step, _ in lines}
    rows = []
    for index, own in sorted(found.items()):
        first, last = index * period + 1, min((index + 1) * period, end)
        steps = range(first, first + period)
        rows.append(
            {
                "cycle": index + 1,
                "first_step": first,
                "last_step": last,
                "whole": noted.issuperset(steps),
                "losses": {k: float(np.mean(own[k])) for k in _ordered(own)},
                "counts": {k: len(own[k]) for k in _ordered(own)},
            }
        )
    return rows


def _ordered(names):
    """Most bits first; what is no bit-width behind them."""
    return sorted(
        names, key=lambda k: (not k.isdigit(), -int(k) if k.isdigit() else k)
    )


def _change(cycles):
    found = {}
    for cycle in cycles:
        if cycle["whole"]:
            for name, loss in cycle["losses"].items():
                found.setdefault(name, []).append(loss)
    return {
        name: {"first": found[name][0], "last": found[name][-1]}
        for name in _ordered(found)
        if len(found[name]) > 1
    }


def _trend(lines, cycles, behind):
    """The end of a run beside what was before; like with like, or `None`."""
    alike = len({frozenset(own) for _, own in lines}) == 1
    losses = _means(lines) if alike else behind
    part = len(losses) // PART
    if part > 1:
        before, last = losses[-2 * part : -part], losses[-part:]
        return _beside("tenth", before, last)
    whole = [cycle["losses"] for cycle in cycles if cycle["whole"]]
    if alike or len(whole) < 2:
        return None
    # Steps of other precisions would tell nothing: only those of both count.
    both = [name for name in whole[-1] if name in whole[-2]]
    if not both:
        return None
    return _beside("cycle", *([own[k] for k in both] for own in whole[-2:]))


def _beside(part, before, last):
    return {
        "part": part,
        "before": float(np.mean(before)),
        "last": float(np.mean(last)),
    }


def _means(lines):
    return [float(np.mean([*own.values()])) for _, own in lines]


def _ends(losses):
    """Means of the first and the last tenth; `None` of too few."""
    part = len(losses) // PART
    if part < 1:
        return None
    return {
        "first": float(np.mean(losses[:part])),
        "last": float(np.mean(losses[-part:])),
    }
