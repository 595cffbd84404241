"""Training styles: which plans one step trains, and what they learn from.

A style is a function of the step that returns *updates*. An update is a list
of *terms* whose gradients are averaged before the optimizer moves; a term is
one plan and the plans it learns from beside the data and the teacher.
"""

import dataclasses

from tfshrink.plan import Plan


@dataclasses.dataclass(frozen=True)
class Term:
    """One plan of an update.

    Args:
        plan: The plan to run.
        learns_from: Indices of earlier terms of the same update whose output
            distributions are targets as well.
    """

    plan: Plan
    learns_from: tuple = ()


def spnet(step, plans, schedule):
    """Mean loss over all plans, one update.

    Reference: Guerra et al., Switchable Precision Networks, 2002.02815.
    """
    return [[Term(plan) for plan in plans]]


def cyclic(step, plans, schedule):
    """One update a plan, all plans in turn."""
    return [[Term(plan)] for plan in plans]


def instantnet(step, plans, schedule):
    """Like `spnet`; each plan also learns from all higher precisions.

    Reference: Fu et al., InstantNet, 2104.10853, section 3.
    """
    ordered = sorted(plans, key=lambda plan: -sum(plan.bits))
    return [[Term(p, tuple(range(i))) for i, p in enumerate(ordered)]]


def one_at_a_time(step, plans, schedule):
    """One update of the plan that the schedule names at this step."""
    return [[Term(schedule(step))]]


# A style: its updates, and the schedule it takes its plan from (or None).
STYLES = {
    "cpt": (one_at_a_time, "cpt"),
    "cyclic": (cyclic, None),
    # All plans and all exits, one update.
    "early_exit": (spnet, None),
    "instantnet": (instantnet, None),
    "rpt": (one_at_a_time, "rpt"),
    "spnet": (spnet, None),
    "static": (one_at_a_time, "static"),
    "switch": (one_at_a_time, "switch"),
}
