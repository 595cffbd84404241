"""Learn-then-Test: the boldest threshold whose risk is promised.

Reference: Angelopoulos et al., 2110.01052; Hoeffding-Bentkus bound, equation
6. Fixed-sequence testing, from the threshold that exits nothing downwards.
"""

import dataclasses
import math

import numpy as np

from tfshrink.errors import UserError
from tfshrink.exit_spec import POLICY
from tfshrink.exits.choice import chosen_exits

STEPS = 100  # thresholds of the sequence


def p_value(risk, count, bound):
    """Chance of so low a risk among `count` prompts if the true one is higher.

    Args:
        risk: Mean loss of the prompts, each in 0..1.
        count: Prompts.
        bound: δ, what the true risk must not exceed, inside 0..1.

    Returns:
        The Hoeffding-Bentkus p-value of "the risk is above the bound".
    """
    from scipy import stats

    low = min(risk, bound)
    hoeffding = math.exp(-count * _divergence(low, bound))
    tail = stats.binom.cdf(math.ceil(count * risk), count, bound)
    return float(min(1.0, hoeffding, math.e * tail))


def _divergence(a, b):
    """Kullback-Leibler divergence of two coins."""

    def term(x, y):
        return 0.0 if x == 0 else x * math.log(x / y)

    return term(a, b) + term(1.0 - a, 1.0 - b)


def check_count(count, risk, level):
    """Raises a `UserError` where so few prompts can prove nothing.

    Args:
        count: Prompts.
        risk: δ, inside 0..1.
        level: ε, inside 0..1.
    """
    least = math.ceil(math.log(level) / math.log(1.0 - risk))
    if count < least:
        raise UserError(
            f"`prompts` must be at least {least} to promise an agreement of "
            f"{1 - risk:g} at {1 - level:g}, and more where some tokens differ."
            f" Received: {count}"
        )


def learn_then_test(trace, spec, *, risk, level=0.05, steps=STEPS):
    """Lowers the thresholds of a policy as far as a promise holds.

    What comes out asks only where something may leave: an exit whose threshold
    is 1 would be read in vain.

    The loss of a prompt is the share of its tokens that differ from the full
    model's. Thresholds go down together, from those at which nothing leaves
    to the spec's share of the way; the first that cannot be proved ends it.

    Args:
        trace: `ExitTrace` of prompts that chose nothing before.
        spec: `ExitSpec`, its thresholds the boldest that may come out.
        risk: δ, largest mean loss that is promised.
        level: ε, chance that the promise is wrong.
        steps: Thresholds that are tried.

    Returns:
        Dict: `exit` (the policy, as a dict of `ExitSpec`), `risk` and `level`
        promised, `measured` (mean loss), `p_value`, `prompts`, `steps` proved.

    Raises:
        UserError: Too few prompts to prove anything, or a light head that
            breaks the promise alone.
    """
    for name, value in (("risk", risk), ("level", level)):
        if not 0.0 < value < 1.0:
            raise UserError(f"`{name}` must lie inside 0..1. Received: {value}")
    count = len(trace)
    check_count(count, risk, level)
    full = np.ones(len(trace.layers))
    goal = np.array(spec.thresholds_of(trace.layers))
    every = trace.rights(spec.head)
    best = None
    for step in range(steps + 1):
        share = step / steps
        limits = full + share * (goal - full)
        own = _asked(spec, trace.layers, limits.tolist())
        exits = chosen_exits(trace, own)
        right = np.take_along_axis(every, exits[None], axis=0)[0]
        tokens = np.maximum(trace.made.sum(axis=1), 1)
        loss = (~right & trace.made).sum(axis=1) / tokens
        value = p_value(float(loss.mean()), count, risk)
        if value > level:
            break
        best = {
            "exit": own.to_json(),
            "policy": str(own),
            "risk": risk,
            "level": level,
            "measured": float(loss.mean()),
            "p_value": value,
            "prompts": count,
            "steps": step,
        }
    if best is None:
        raise UserError(
            "`exit` must hold the promise where nothing leaves; head=light "
            f"alone differs too often for a risk of {risk}. Received: {spec}"
        )
    return best


def _asked(spec, layers, limits):
    """The policy at the exits that tokens may leave by; the last if at none.

    A cosine and a learned policy are made for all exits of the model.
    """
    whole = spec.confidence in ("cosine", POLICY)
    pairs = list(zip(layers, limits, strict=True))
    kept = [pair for pair in pairs if whole or pair[1] < 1.0] or pairs[-1:]
    layers, limits = zip(*kept, strict=True)
    return dataclasses.replace(spec, layers=layers, thresholds=limits)
