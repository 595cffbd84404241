"""The precision range test: the fewest bits that still learn.

Reference: Fu et al., CPT, arXiv:2101.09868, section 3.3.
"""

from tfshrink.training.schedules import uniform_plan
from tfshrink.training.styles import Term

DECAY = 0.5  # of the running mean of losses
STEPS = 8  # at each bit-width
THRESHOLD = 0.02  # part of the loss that must go


def smoothed_gain(losses, *, decay=DECAY):
    """How far the running mean of the losses fell, relative to its start.

    Args:
        losses: Losses of consecutive steps.
        decay: Weight of the past in the running mean.

    Returns:
        A float: 0.1 means that a tenth of the loss went.
    """
    mean = losses[0]
    for loss in losses[1:]:
        mean = decay * mean + (1.0 - decay) * loss
    return (losses[0] - mean) / losses[0]


def range_test(
    trainer, batch_at, plan, widths, *, steps=STEPS, threshold=THRESHOLD
):
    """Raises the bits from the lowest until a few steps lower the loss.

    Each width starts from the same state; the trainer ends as it began.

    Args:
        trainer: `Trainer`.
        batch_at: As for `Trainer.step`.
        plan: Gives everything but the bits of the blocks.
        widths: Bit-widths to try.
        steps: Steps at each.
        threshold: Smoothed gain that passes.

    Returns:
        Dict with `low` (the first width that passed, or the highest),
        `threshold`, `steps`, and `tests`: bits, losses and gain of each
        width that was tried.
    """
    style, start = trainer.style, trainer.snapshot()
    tests = []
    for bits in sorted(widths):
        trainer.restore(start)
        own = uniform_plan(plan, bits)
        trainer.style = lambda step, own=own: [[Term(own)]]
        losses = [trainer.step(i, batch_at)["loss"] for i in range(steps)]
        gain = smoothed_gain(losses)
        tests.append({"bits": bits, "gain": gain, "losses": losses})
        if gain >= threshold:
            break
    trainer.restore(start)
    trainer.style = style
    return {
        "low": tests[-1]["bits"],
        "threshold": threshold,
        "steps": steps,
        "tests": tests,
    }
