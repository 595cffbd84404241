"""Which plan a step trains, and at which learning rate."""

import dataclasses
import math

import numpy as np

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.plan_checks import check_bits

STRATEGIES = ("cyclic", "random", "progressive", "scheduled")


def cosine_rate(step, *, total, peak, warmup=0.03, floor=0.02):
    """Learning rate at `step`: linear warm-up, then half a cosine.

    Args:
        step: From 0.
        total: Number of steps.
        peak: Highest rate.
        warmup: Fraction of the steps spent rising.
        floor: Fraction of the peak kept at the end.
    """
    rise = max(1, round(warmup * total))
    if step < rise:
        return peak * (step + 1) / rise
    part = (step - rise) / max(1, total - rise)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * part)))


def cpt_bits(step, *, period, low, high):
    """Cyclic precision: bits at `step` of a cosine that rises each period.

    Reference: Fu et al., CPT, 2101.09868, equation 1.
    """
    phase = math.pi * (step % period) / period
    return round(low + 0.5 * (high - low) * (1 - math.cos(phase)))


def switch_schedule(
    plans, *, strategy="cyclic", interval=10, total, pattern=(), seed=0
):
    """Plan per step of the `switch` style.

    Args:
        plans: Plans to switch between.
        strategy: `"cyclic"` (in turn), `"random"`, `"progressive"` (from the
            most bits to the fewest over the run) or `"scheduled"` (the
            `pattern`, repeated).
        interval: Steps between switches.
        total: Steps of the run.
        pattern: Bit-widths of `"scheduled"`, such as `(8, 6, 4, 2, 4, 6)`.
        seed: Of `"random"`.

    Returns:
        A function from a step to a plan.
    """
    if strategy not in STRATEGIES:
        raise unknown_choice("strategy", strategy, STRATEGIES)
    if interval < 1:
        raise UserError(f"`switch_interval` must be >= 1. Received: {interval}")
    if not plans:
        raise UserError("`plans` must hold at least one plan. Received: none")
    ordered = sorted(plans, key=lambda plan: -sum(plan.bits))
    scheduled = [uniform_plan(plans[0], bits) for bits in pattern]
    if strategy == "scheduled" and not scheduled:
        raise UserError(
            "`pattern` must name the bit-widths of strategy 'scheduled', "
            "such as 8,6,4,2,4,6,8. Received: nothing"
        )

    def plan_at(step):
        turn = step // interval
        if strategy == "cyclic":
            return plans[turn % len(plans)]
        if strategy == "random":
            draw = np.random.default_rng((seed, turn)).integers(len(plans))
            return plans[draw]
        if strategy == "scheduled":
            return scheduled[turn % len(scheduled)]
        turns = max(1, -(-total // interval))
        return ordered[min(turn * len(ordered) // turns, len(ordered) - 1)]

    return plan_at


def cpt_schedule(
    plan, *, total, cycles=8, low=2, high=8, pattern=(), layer_offset=0
):
    """Plan per step of cyclic precision training.

    Args:
        plan: Gives everything but the bits of the blocks.
        total: Steps of the run.
        cycles: Number of cosine periods.
        low: Fewest bits.
        high: Most bits.
        pattern: Explicit bit-widths of one cycle, instead of the cosine.
        layer_offset: Steps by which each block runs ahead of the one below.

    Returns:
        A function from a step to a plan.
    """
    if cycles < 1:
        raise UserError(f"`cycles` must be >= 1. Received: {cycles}")
    for bits in (low, high, *pattern):
        check_bits(bits, "cpt")
    if low > high:
        raise UserError(
            f"`low` must be at most `high` bits. Received: {low} and {high}"
        )
    period = max(1, total // cycles)
    if len(pattern) > period:
        raise UserError(
            f"`bit_pattern` must have at most {period} bit-widths, the steps "
            f"of one of {cycles} cycles. Received: {len(pattern)}"
        )

    def bits_at(step):
        if pattern:
            place = (step % period) * len(pattern) // period
            return pattern[place]
        return cpt_bits(step, period=period, low=low, high=high)

    def plan_at(step):
        bits = [
            bits_at(step + layer_offset * index)
            for index in range(plan.layers)
            for _ in range(4)
        ]
        return _with_block_bits(plan, bits, f"cpt-{bits[0]}")

    return plan_at


def random_schedule(plan, widths, *, seed=0):
    """A random width for every layer group at every step (RPT).

    Reference: Fu et al., Double-Win Quant, ICML 2021.
    """

    def plan_at(step):
        draws = np.random.default_rng((seed, step)).choice(
            widths, size=4 * plan.layers
        )
        return _with_block_bits(plan, draws.tolist(), "random")

    return plan_at


def noam_rate(step, *, total, peak, warmup):
    """Rises in a line, then falls with the root of the step.

    Args:
        step: From 0.
        total: Steps.
        peak: Highest rate.
        warmup: Share of the steps in which it rises.

    Reference: Vaswani et al., 1706.03762, section 5.3.
    """
    first = max(1.0, warmup * total)
    return peak * min((step + 1) / first, math.sqrt(first / (step + 1)))


def uniform_plan(plan, bits):
    """The plan with one bit-width in all blocks, named after it."""
    return _with_block_bits(plan, [bits] * (4 * plan.layers), str(bits))


def _with_block_bits(plan, bits, name):
    outer = plan.bits[4 * plan.layers :]
    return dataclasses.replace(plan, bits=(*bits, *outer), name=name)
