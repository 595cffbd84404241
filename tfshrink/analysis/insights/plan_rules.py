"""Rules about plans: their bits, bytes and quality."""

import math

from tfshrink.analysis.insights.figures import bit_rows
from tfshrink.analysis.insights.figures import compressed
from tfshrink.analysis.insights.figures import figure
from tfshrink.analysis.insights.figures import insight
from tfshrink.analysis.insights.figures import judged_rows
from tfshrink.analysis.insights.figures import megabytes
from tfshrink.analysis.insights.figures import pair
from tfshrink.analysis.insights.figures import place
from tfshrink.analysis.insights.figures import ratio
from tfshrink.analysis.insights.figures import typed

GOOD = 1.02  # times full precision's perplexity that nobody minds
CLIFF = 1.2  # times the perplexity of the next larger plan
SURE = 2.0  # standard errors that a difference must exceed


def smallest_good_plan(subject):
    """The smallest plan that keeps the quality is the one to ship."""
    rows = compressed(judged_rows(subject))
    rows = [row for row in rows if ratio(row) <= GOOD]
    if not rows:
        return None
    row = min(rows, key=lambda row: row["bytes"])
    return insight(
        f"{row['name']} is the smallest plan within {GOOD - 1:.0%} of full "
        f"precision: {row['perplexity_ratio']:.3f} times its perplexity, "
        f"{megabytes(row['bytes'])} MB.",
        f"Ship it: bin/export {place(subject)} --plan={typed(subject, row)}",
        row,
        "name bytes perplexity_ratio compression",
    )


def no_good_plan(subject):
    """Where no plan keeps the quality, the best one says how far it is."""
    rows = compressed(judged_rows(subject))
    if not rows or min(map(ratio, rows)) <= GOOD:
        return None
    row = min(rows, key=ratio)
    return insight(
        f"No plan is within {GOOD - 1:.0%} of full precision: the best, "
        f"{row['name']}, has {row['perplexity_ratio']:.3f} times its "
        "perplexity.",
        "Train longer (bin/train --total_steps), or give it more bits.",
        row,
        "name bytes perplexity_ratio",
    )


def quality_cliff(subject):
    """Between two plans that differ a lot, mixed bits are worth a search."""
    rows = compressed(bit_rows(subject), "effective_bits")
    rows = sorted(rows, key=lambda row: -row["effective_bits"])
    for high, low in zip(rows, rows[1:], strict=False):
        if ratio(low) > CLIFF * ratio(high) and low["bytes"] < high["bytes"]:
            return {
                "text": f"From {high['name']} to {low['name']} the perplexity "
                f"goes from {ratio(high):.3f} to {ratio(low):.3f} times full "
                "precision's.",
                "next": "Look for plans between: bin/search "
                f"{place(subject)} --method=pareto",
                "figures": pair(high, low, "perplexity_ratio bytes"),
            }
    return None


def mixed_bits_win(subject):
    """A mixed plan that is smaller and surely better than a uniform one."""
    names = "perplexity", "standard_error"
    best = None
    for mixed in compressed(figure(subject, "bits", "mixed") or [], *names):
        for plain in compressed(bit_rows(subject), *names):
            gain = math.log(plain["perplexity"] / mixed["perplexity"])
            error = math.hypot(plain["standard_error"], mixed["standard_error"])
            smaller = mixed["bytes"] <= plain["bytes"]
            if smaller and gain > SURE * error and (not best or gain > best[0]):
                best = gain, mixed, plain
    if best is None:
        return None
    gain, mixed, plain = best
    return {
        "text": f"{mixed['name']} beats {plain['name']}: "
        f"{ratio(mixed):.3f} for {ratio(plain):.3f} times full precision's "
        f"perplexity, and {megabytes(mixed['bytes'])} for "
        f"{megabytes(plain['bytes'])} MB.",
        "next": f"Use it: --plan={typed(subject, mixed)}, of this report.",
        "figures": {
            **pair(mixed, plain, "perplexity_ratio bytes standard_error"),
            "nats_gained": gain,
        },
    }
