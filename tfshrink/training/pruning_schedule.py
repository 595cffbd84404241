"""How fast weights are pruned while a run trains: TFMOT's schedules."""

import dataclasses

from tfshrink import backend
from tfshrink.errors import UserError

# Keeps the form of a plan that prunes where nothing is pruned yet.
NOTHING = 1e-6
_SHARE = 0.5  # any final sparsity: only the share of it that is reached counts


def one_shot(begin, end):
    """All at once, from the first step on."""
    return lambda step: 1.0


def polynomial(begin, end):
    """Rises from `begin` to `end` as a cubic polynomial, fast at first.

    Reference: Zhu and Gupta, To prune or not to prune, arXiv:1710.01878.
    """
    schedules = _tfmot()
    own = schedules.PolynomialDecay(
        initial_sparsity=0.0,
        final_sparsity=_SHARE,
        begin_step=begin,
        end_step=end,
        frequency=1,
    )

    def share(step):
        return 0.0 if step < begin else float(own(min(step, end))[1]) / _SHARE

    return share


def constant(begin, end):
    """All at once, from `begin` on."""
    own = _tfmot().ConstantSparsity(_SHARE, begin_step=begin, frequency=1)
    return lambda step: float(own(step)[0])


SCHEDULES = {
    "constant": constant,
    "one_shot": one_shot,
    "polynomial": polynomial,
}


def gradual(style, share):
    """A style whose plans prune a share of what they will in the end.

    Args:
        style: Function of a step to updates.
        share: Function of a step to a number in 0..1.
    """

    def pruned(plan, step):
        if not plan.pruning:
            return plan
        part, sparsity = share(step), plan.sparsity
        if sparsity == "2:4" and part < 1.0:
            part, sparsity = 0.0, "unstructured"
        levels = [max(NOTHING, p * part) if p else 0.0 for p in plan.pruning]
        return dataclasses.replace(plan, pruning=levels, sparsity=sparsity)

    def updates(step):
        return [
            [
                dataclasses.replace(term, plan=pruned(term.plan, step))
                for term in update
            ]
            for update in style(step)
        ]

    return updates


def _tfmot():
    """The schedules of tensorflow-model-optimization."""
    if not backend.is_tensorflow():
        raise UserError(
            "`pruning_schedule` must be one_shot on the JAX backend: the "
            "others are TensorFlow Model Optimization's. Received: another"
        )
    from tensorflow_model_optimization.python.core.sparsity.keras import (
        pruning_schedule,
    )

    return pruning_schedule
