"""Rules about the losses of a run."""

from tfshrink.analysis.insights.figures import figure

FALLING = 0.98  # of the loss before
RISEN = 1.02  # times the first loss
LEAST = 0.01  # nats that a loss must rise to be told


def still_learning(subject):
    """A loss that was still falling when a run ended."""
    trend = figure(subject, "cycles", "trend")
    if not trend or trend["last"] >= FALLING * trend["before"]:
        return None
    return {
        "text": "The loss was still falling when the run ended: "
        f"{trend['before']:.4f} nats in the last {trend['part']} but one, "
        f"{trend['last']:.4f} in the last.",
        "next": "Train longer: bin/train --total_steps.",
        "figures": trend,
    }


def forgets_high_precision(subject):
    """Cycles that harm what the most bits could do already."""
    high, low, change = _extremes(subject)
    if not change:
        return None
    first, last = change[high]["first"], change[high]["last"]
    if last - first <= LEAST or last <= RISEN * first:
        return None
    return {
        "text": f"Over the cycles the loss at {high} bits went up, from "
        f"{first:.4f} to {last:.4f} nats; at {low} it went from "
        f"{change[low]['first']:.4f} to {change[low]['last']:.4f}.",
        "next": "Start from more bits (bin/train --range_test), or train all "
        "in each step: --style=instantnet.",
        "figures": {high: change[high], low: change[low]},
    }


def low_precision_stalls(subject):
    """Fewest bits that the cycles do not help."""
    _, low, change = _extremes(subject)
    if not change or change[low]["last"] < FALLING * change[low]["first"]:
        return None
    return {
        "text": f"The loss at {low} bits did not fall over the cycles: "
        f"{change[low]['first']:.4f} nats in the first, "
        f"{change[low]['last']:.4f} in the last.",
        "next": "Leave these bits out (bin/train --range_test finds the fewest "
        "that learn), or let them learn from more: --style=instantnet.",
        "figures": {low: change[low]},
    }


def _extremes(subject):
    """Most and fewest bits of the cycles' change, and that change."""
    change = figure(subject, "cycles", "change") or {}
    widths = sorted((k for k in change if k.isdigit()), key=int)
    if len(widths) < 2:
        return None, None, None
    return widths[-1], widths[0], change
