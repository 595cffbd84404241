from absl.testing import parameterized

from tests.test_case import TestCase
from tests.training import tiny
from tfshrink.errors import UserError
from tfshrink.models.sources import open_source
from tfshrink.training.comparison.style_run import BEGIN
from tfshrink.training.comparison.style_run import style_runs
from tfshrink.training.comparison.style_run import STYLES
from tfshrink.training.schedules import cpt_schedule
from tfshrink.training.settings import TrainSettings
from tfshrink.training.styles import STYLES as TRAINED
from tfshrink.training.train import structure

PLANS, WIDTHS, UPDATES = ("8", "4", "2"), (8, 4, 2), 30


def settings(run):
    return TrainSettings(
        **{**tiny.settings().to_json(), "ranks": "", **run.changes}
    )


def updates_of(run):
    """What `STYLES` of the trainer makes of a run: plans of all updates."""
    own = settings(run)
    plans = structure(own, open_source("tiny").config)[1]
    function, schedule = TRAINED[own.style]
    plan_at = {"static": lambda step: plans[0]}.get(schedule)
    if schedule == "cpt":
        pattern = [int(bits) for bits in own.bit_pattern.split(",")]
        plan_at = cpt_schedule(
            plans[0],
            total=own.total_steps,
            cycles=own.cycles,
            pattern=pattern,
        )
    found = []
    for step in range(own.total_steps):
        found += function(step, plans, plan_at or (lambda _: plans[0]))
    return found


class StyleRunTest(TestCase):
    def test_every_model_has_seen_the_same_updates(self):
        runs = style_runs(STYLES, PLANS, UPDATES, WIDTHS)
        known = {run.name: run for run in runs}
        for run in runs[1:]:
            before = known[run.begins[0]]
            made = updates_of(run)
            behind = 0 if before.name == BEGIN else len(updates_of(before))
            self.assertEqual(run.updates, behind + len(made), run.name)
            self.assertEqual(run.passes, sum(map(len, made)), run.name)
            if run.plans:
                self.assertEqual(run.updates, UPDATES)

    def test_all_runs_have_one_structure(self):
        config = open_source("tiny").config
        runs = style_runs(STYLES, PLANS, UPDATES, WIDTHS)
        found = {structure(settings(run), config)[0] for run in runs}
        self.assertLen(found, 1)

    def test_two_phases_are_cycles_and_then_one_plan(self):
        _, first, *rest = style_runs(["two_phase"], PLANS, 20, WIDTHS)
        self.assertEqual(first.plans, ())
        self.assertEqual(first.changes["style"], "cpt")
        self.assertEqual(first.changes["bit_pattern"], "8,4,2,4,8")
        self.assertEqual(first.changes["cycles"], 2)
        for plan, run in zip(PLANS, rest, strict=True):
            self.assertEqual(run.begins, (first.name, "final.safetensors"))
            self.assertEqual(
                (run.plans, run.changes["total_steps"]), ((plan,), 10)
            )
            self.assertEqual({u[0].plan.name for u in updates_of(run)}, {plan})

    @parameterized.parameters(
        (["spent"], 30, "Did you mean `spnet`"),
        (["cyclic"], 31, "`steps` must be a multiple.*: 3. Received: 31"),
        (["two_phase"], 8, "one cycle of 5 bit-widths. Received: 4"),
    )
    def test_mistake_is_named(self, styles, updates, message):
        with self.assertRaisesRegex(UserError, message):
            style_runs(styles, PLANS, updates, WIDTHS)
