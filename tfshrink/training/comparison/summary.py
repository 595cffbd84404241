"""Means and spreads over seeds, and which differences exceed them."""

import numpy as np

# What differs from seed to seed, and is summarised.
SPREAD = ("perplexity_ratio", "token_accuracy", "training_seconds", "attacked")
# What a plan costs: the same for every seed and style.
SHARED = ("effective_bits", "bytes", "compression", "updates")
JUDGED = "perplexity_ratio"  # what styles are ranked by; less is better


def summarize_styles(records):
    """One row a plan and style, from one record a seed.

    Args:
        records: Dicts of `seed`, `style`, `plan` and figures.

    Returns:
        List of dicts, plan by plan in order of appearance. A figure of
        `SPREAD` is `{"mean", "spread", "values"}`, the spread being the
        standard deviation over seeds (n - 1), `None` of one seed.
        `better_than` lists the styles whose ratio at the same plan is higher
        by more than both spreads together.
    """
    groups = {}
    for plan in dict.fromkeys(record["plan"] for record in records):
        for record in records:
            if record["plan"] == plan:
                groups.setdefault((plan, record["style"]), []).append(record)
    rows = [_row(*key, own) for key, own in groups.items()]
    for row in rows:
        row["better_than"] = [
            other["style"]
            for other in rows
            if other["plan"] == row["plan"] and exceeds(row, other)
        ]
    return rows


def _row(plan, style, records):
    row = {"plan": plan, "style": style, "seeds": len(records)}
    row |= {name: records[0][name] for name in SHARED}
    row["passes"] = records[0]["passes"]
    for name in SPREAD:
        values = [record[name] for record in records if name in record]
        if len(values) == len(records):
            row[name] = mean_and_spread(values)
    return row


def mean_and_spread(values):
    """Mean and standard deviation (n - 1) of values, and the values."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {
        "mean": float(np.mean(values)),
        "spread": spread,
        "values": [float(value) for value in values],
    }


def exceeds(row, other):
    """Whether a row is better than another by more than both spreads.

    Of one seed nothing is known of the spread, so nothing is claimed.
    """
    own, theirs = row[JUDGED], other[JUDGED]
    if own["spread"] is None or theirs["spread"] is None:
        return False
    return theirs["mean"] - own["mean"] > own["spread"] + theirs["spread"]
