"""Plans of one model, judged on the prompts of a certificate part by part."""

import functools

import numpy as np

from tfshrink.exit_spec import ExitSpec
from tfshrink.stl.certificate import Verdict
from tfshrink.stl.plan_judge import PlanJudge
from tfshrink.structure import plan_tensor


def plan_identity(plan):
    """What a `Verdict` says of a plan that was simulated."""
    return {"kind": "simulated plan", "plan_hash": plan.hash}


def plan_judges(candidate, requirement, codecs, exits, dtype):
    """Judges of a candidate's plans; its model is loaded once.

    Args:
        candidate: `Candidate`.
        requirement: `Requirement`.
        codecs: `PlanCodecs`.
        exits: `PlanExits`.
        dtype: Compute type.

    Yields:
        `(Verdict, Requirement, function)` of each plan. The function takes
        prompts and reference and returns signals.
    """
    # Before the model: to open a codec may load one.
    costs = [codecs.cost(plan) for plan in candidate.plans]
    model = candidate.load(dtype)
    judges = _PlanJudges(model, requirement, codecs, exits)
    for plan, cost in zip(candidate.plans, costs, strict=True):
        verdict = Verdict(plan.name, {**plan_identity(plan), **cost})
        if plan.exit is not None:
            verdict.identity["exit"] = str(ExitSpec.from_json(plan.exit))
        signals_of = functools.partial(judges.signals, plan, verdict)
        yield verdict, requirement, signals_of


class _PlanJudges:
    """Plans of one model, judged part by part of the prompts."""

    def __init__(self, model, requirement, codecs, exits):
        self.model = model
        self.codecs = codecs
        self.exits = exits
        self.more = requirement.signals
        self._judge = self._part = None

    def signals(self, plan, verdict, part, reference):
        """Signals of a plan on a part of the prompts."""
        if self._judge is None:
            self._judge = PlanJudge(self.model, part, reference, more=self.more)
        elif self._part is not part:
            self._judge.look_at(part, reference)
        self._part = part
        found = self._judge.measure(
            plan_tensor(self.model.config, plan),
            self.codecs(plan.kv),
            self.exits(plan.exit, self.model),
        )
        if plan.exit is not None:
            self._count(plan, verdict, found.exits[part.mask])
        return found.signals

    def _count(self, plan, verdict, exits):
        """Adds tokens by the blocks that they ran to what a verdict says."""
        depths = *self.exits.layers(plan.exit), self.model.config.layers
        known = verdict.identity.setdefault("tokens_by_layer", {})
        counts = np.bincount(exits, minlength=len(depths)).tolist()
        for depth, count in zip(map(str, depths), counts, strict=True):
            known[depth] = known.get(depth, 0) + count
