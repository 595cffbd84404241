"""The runs that a comparison of training styles consists of."""

import dataclasses

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.models.run import FINAL
from tfshrink.training.start import START

BEGIN = "start"  # the run that initialises what all others begin with
SWITCHES = 10  # steps to a switch, or fewer in a short run


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleRun:
    """One run of `bin/train`, and what it is judged on.

    Args:
        name: Of its folder.
        style: Row of the table.
        changes: Settings of its own (`TrainSettings`).
        plans: Plans it is judged at, as `--plan` takes them; none where
            another run goes on from it.
        begins: `(run, checkpoint)` that it starts from, or `None`.
        updates: Of the optimizer, behind what it is judged on; those of the
            run that it goes on from are among them.
        passes: Runs of the model forward and back in this run, a plan each:
            what it costs.
    """

    name: str
    style: str
    changes: dict
    plans: tuple
    begins: tuple | None = (BEGIN, START)
    updates: int
    passes: int


def style_runs(styles, plans, updates, widths):
    """The runs of styles, those first that others start from.

    Args:
        styles: Names of `STYLES`.
        plans: Texts of plans, as `--plan` takes them between `;`.
        updates: Updates of the optimizer that each judged model has seen.
        widths: Bit-widths in the plans, highest first: one cycle of `cpt`
            goes down and up again.

    Returns:
        List of `StyleRun`, the initialisation first.

    Raises:
        UserError: A style is unknown, or the updates do not divide.
    """
    for name in styles:
        if name not in STYLES:
            raise unknown_choice("styles", name, STYLES)
    plans = tuple(plans)
    begin = StyleRun(
        name=BEGIN,
        style=BEGIN,
        # A run has a step; this one moves nothing.
        changes={"style": "spnet", "total_steps": 1, "learning_rate": 0.0},
        plans=plans,
        begins=None,
        updates=0,
        passes=0,
    )
    pattern = (*widths, *widths[-2::-1])
    makers = [STYLES[name][0] for name in dict.fromkeys(styles)]
    return [begin, *(r for m in makers for r in m(plans, updates, pattern))]


def runs_behind(run, runs):
    """A run and those it goes on from, without the initialisation.

    Args:
        run: `StyleRun`.
        runs: Those of the same seed.
    """
    if run.begins is None or run.begins[0] == BEGIN:
        return [run]
    before = next(own for own in runs if own.name == run.begins[0])
    return [run, *runs_behind(before, runs)]


def _whole(style, plans, updates, *, passes, **changes):
    """One run that is judged at all plans."""
    return [
        StyleRun(
            name=style,
            style=style,
            changes={"style": style, "total_steps": updates, **changes},
            plans=plans,
            updates=updates,
            passes=passes,
        )
    ]


def _together(style):
    def make(plans, updates, pattern):
        return _whole(style, plans, updates, passes=updates * len(plans))

    return make


def _cyclic(plans, updates, pattern):
    if updates % len(plans):
        raise UserError(
            "`steps` must be a multiple of the number of plans for style "
            f"cyclic, which updates once a plan: {len(plans)}. "
            f"Received: {updates}"
        )
    (run,) = _whole("cyclic", plans, updates, passes=updates)
    changes = {**run.changes, "total_steps": updates // len(plans)}
    return [dataclasses.replace(run, changes=changes)]


def _switch(plans, updates, pattern):
    interval = max(1, min(SWITCHES, updates // (2 * len(plans))))
    return _whole(
        "switch", plans, updates, passes=updates, switch_interval=interval
    )


def _rpt(plans, updates, pattern):
    return _whole("rpt", plans, updates, passes=updates)


def _cpt(plans, updates, pattern):
    return _whole(
        "cpt", plans, updates, passes=updates, **_cycles(updates, pattern)
    )


def _cycles(steps, pattern):
    """Settings of `cpt`: as many cycles as hold the pattern, 8 at most."""
    if steps < len(pattern):
        raise UserError(
            f"`steps` must let a phase of cpt hold one cycle of "
            f"{len(pattern)} bit-widths. Received: {steps} in a phase"
        )
    return {
        "bit_pattern": ",".join(map(str, pattern)),
        "cycles": min(8, steps // len(pattern)),
    }


def _static(plans, updates, pattern):
    return _alone("static", plans, updates)


def _two_phase(plans, updates, pattern):
    """Cyclic precision, then from there each plan alone."""
    half = updates // 2
    first = StyleRun(
        name="two_phase-cpt",
        style="two_phase",
        changes={
            "style": "cpt",
            "total_steps": half,
            **_cycles(half, pattern),
        },
        plans=(),
        updates=half,
        passes=half,
    )
    begins = (first.name, FINAL)
    return [first, *_alone("two_phase", plans, updates, half, begins=begins)]


def _alone(style, plans, updates, done=0, **more):
    """A run for each plan that trains it alone, in the structure of all."""
    return [
        StyleRun(
            name=f"{style}-{place}",
            style=style,
            changes={
                "style": "static",
                # `static` trains the first; the widths are those of all.
                "plan": ";".join(dict.fromkeys([plan, *plans])),
                "total_steps": updates - done,
            },
            plans=(plan,),
            updates=updates,
            passes=updates - done,
            **more,
        )
        for place, plan in enumerate(plans, 1)
    ]


# A style: what makes its runs of plans, updates and a cycle, and what it is.
STYLES = {
    "static": (_static, "one model a plan, trained at it alone"),
    "two_phase": (
        _two_phase,
        "half the updates cpt, half static: one model a plan",
    ),
    "cpt": (_cpt, "one model, its precision down and up in cycles"),
    "cyclic": (_cyclic, "one model, one update a plan in turn"),
    "switch": (_switch, "one model, a plan for some steps, then the next"),
    "rpt": (_rpt, "one model, random bit-widths in each layer and step"),
    "spnet": (_together("spnet"), "one model, all plans in each update"),
    "instantnet": (
        _together("instantnet"),
        "like spnet; lower precisions also learn from higher ones",
    ),
}
DEFAULT = [name for name in STYLES if name != "rpt"]
