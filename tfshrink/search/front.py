"""What is worth keeping of many plans."""

import numpy as np

from tfshrink.stl.formula import Always
from tfshrink.stl.formula import Predicate


def is_dominated(values):
    """Which rows another row beats, all numbers to be small.

    Args:
        values: `(N, K)`.

    Returns:
        Boolean `(N,)`: another row is nowhere larger and somewhere smaller.
    """
    values = np.asarray(values, "float64")
    no_larger = np.all(values[None] <= values[:, None], axis=-1)
    smaller = np.any(values[None] < values[:, None], axis=-1)
    return np.any(no_larger & smaller, axis=1)


def front(rows, objectives):
    """The plans that no other plan beats.

    Args:
        rows: Dicts as `Evaluation.row`.
        objectives: Keys of what is to be small; `margin` is to be large.

    Returns:
        `(chosen, feasible)`: rows sorted by the first objective; where none is
        satisfied, those that no other beats in violation and objectives.
    """
    feasible = [row for row in rows if row["satisfied"]]
    pool = feasible or list(rows)
    if not pool:
        return [], False
    keys = list(objectives) if feasible else ["violation", *objectives]
    values = np.array([[value(row, key) for key in keys] for row in pool])
    _, first = np.unique(values, axis=0, return_index=True)
    kept = [i for i in sorted(first) if not is_dominated(values)[i]]
    chosen = [pool[i] for i in kept]
    chosen.sort(key=lambda row: [value(row, name) for name in objectives])
    return chosen, bool(feasible)


def value(row, objective):
    """A row's number of an objective, to be made small."""
    return -row["margin"] if objective == "margin" else row[objective]


def cheapest_if_relaxed(rows, requirement, shares, cost="bytes"):
    """How far the cheapest satisfied plan moves with the thresholds.

    Args:
        rows: Dicts with `worst` margins by property, and costs.
        requirement: `Requirement` that they were judged by, unrelaxed or not.
        shares: By how much more its thresholds give way.
        cost: What is to be small.

    Returns:
        List of `{"relax", cost, "plan hash"}`; the cost is `None` where no plan
        is satisfied, and the list empty where a property is more than `always`
        of one comparison: its margin then does not move with its threshold.
    """
    thresholds = {}
    for name, formula in requirement.properties.items():
        inner = getattr(formula, "child", None)
        plain = isinstance(formula, Always) and isinstance(inner, Predicate)
        if not plain:
            return []
        thresholds[name] = abs(inner.threshold)
    found = []
    for share in shares:
        held = [
            row
            for row in rows
            if all(
                row["worst"][name] + share * own >= 0
                for name, own in thresholds.items()
            )
        ]
        best = min(held, key=lambda row: row[cost], default={})
        found.append(
            {"relax": share, cost: best.get(cost), "hash": best.get("hash")}
        )
    return found


def hypervolume(points, reference):
    """Area between the front of points and a reference that all beat.

    Args:
        points: `(N, 2)`, to be small; those beyond the reference do not count.
        reference: `(2,)`.

    Returns:
        A float.
    """
    points = np.asarray(points, "float64").reshape(-1, 2)
    points = points[np.all(points < reference, axis=1)]
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    area, height = 0.0, float(reference[1])
    for x, y in points:
        if y < height:
            area += (reference[0] - x) * (height - y)
            height = y
    return float(area)
