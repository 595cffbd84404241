"""The curve of cost and agreement, and the thresholds that lie on it."""

import dataclasses
import itertools

import numpy as np

from tfshrink.exit_spec import ExitSpec
from tfshrink.exit_spec import HEADS
from tfshrink.exits.choice import chosen_exits
from tfshrink.exits.choice import summary
from tfshrink.ops.confidence import CONFIDENCES
from tfshrink.search.front import is_dominated

POINTS = 24  # thresholds of a confidence, in a sweep
GRID = 48  # thresholds that tuning tries at an exit
ROUNDS = 3  # over all exits
PRICES = (0.05, 100.0)  # of a wrong token, in tokens of the full model
BISECTIONS = 9
TUNED = ("classifier", "multi_level")  # what tuning chooses from
BINS = 10  # of a calibration curve


def sweep(trace, cost, *, confidences=CONFIDENCES, points=POINTS, **options):
    """Tries one threshold for all exits, over its whole range.

    Args:
        trace: `ExitTrace`.
        cost: `ExitCost`.
        confidences: Of `CONFIDENCES`.
        points: Thresholds of each, at equal shares of tokens.
        **options: Of each `ExitSpec`.

    Returns:
        List of `summary` dicts, each with `on_front`: whether nothing reads
        less at the same agreement or agrees more for as much.
    """
    rows = []
    for name in confidences:
        values = trace.confidence[name][:, trace.made]
        shares = np.linspace(0.0, 1.0, points)
        limits = np.unique(np.quantile(values, shares).clip(0.0, 0.9999))
        for limit in [*limits.tolist(), 1.0]:
            spec = ExitSpec(
                confidence=name, thresholds=(_short(limit),), **options
            )
            rows.append(summary(trace, spec, cost))
    beaten = is_dominated(
        [(row["weights_read"], -row["agreement"]) for row in rows]
    )
    return [
        {**row, "on_front": not bool(worse)}
        for row, worse in zip(rows, beaten, strict=True)
    ]


def tuned(trace, cost, agreement, *, confidence=TUNED, head=HEADS, **options):
    """One threshold for each exit: the least read at a wanted agreement.

    Asking at an exit costs, whether a token leaves or not: every choice of up
    to two exits is tried, and all of them. For each, a wrong token gets
    the lowest price at which the thresholds it leads to (`priced`) agree often
    enough, and one threshold for all is tried as well.

    Args:
        trace: `ExitTrace`.
        cost: `ExitCost`.
        agreement: Wanted share of tokens that are the full model's.
        confidence: Of `CONFIDENCES`, one or several to choose from.
        head: Of `HEADS`, the same.
        **options: Of the `ExitSpec`.

    Returns:
        `(spec, summary)`; where nothing reads less than the full model, all
        thresholds are 1.
    """
    names = (confidence,) if isinstance(confidence, str) else confidence
    heads = (head,) if isinstance(head, str) else head
    if cost.propose >= cost.head:  # no light head
        heads = HEADS[:1]
    best = _nothing(trace, cost, {"confidence": names[0], **options})
    for name, head in itertools.product(names, heads):
        own = {"confidence": name, "head": head, **options}
        for layers in _choices(trace, own):
            for spec in _candidates(trace, cost, agreement, layers, own):
                found = summary(trace, spec, cost)
                enough = found["agreement"] >= agreement
                if enough and found["weights_read"] < best[1]["weights_read"]:
                    best = spec, found
    return best


def _nothing(trace, cost, options):
    """The policy by which nothing leaves, asked at the last exit alone."""
    layers = trace.layers if options["confidence"] == "cosine" else ()
    spec = _base(layers or trace.layers[-1:], options)
    return spec, summary(trace, spec, cost)


def _choices(trace, options):
    """Which exits may be used together."""
    # It compares the states of neighbours.
    if options["confidence"] == "cosine":
        return [trace.layers]
    few = [
        own
        for size in (1, 2)
        for own in itertools.combinations(trace.layers, size)
    ]
    return list(dict.fromkeys([*few, trace.layers]))


def _candidates(trace, cost, agreement, layers, options):
    """Policies of some exits, the boldest that agree enough among them."""
    low, high = PRICES
    for _ in range(BISECTIONS):
        price = (low * high) ** 0.5
        spec = priced(trace, cost, price, layers=layers, **options)
        yield spec
        if summary(trace, spec, cost)["agreement"] < agreement:
            low = price
        else:
            high = price
    places = [trace.layers.index(layer) for layer in layers]
    values = trace.confidence[options["confidence"]][places][:, trace.made]
    for limit in np.unique(np.quantile(values, np.linspace(0, 1, GRID))):
        same = (_short(min(limit, 0.9999)),) * len(layers)
        yield dataclasses.replace(_base(layers, options), thresholds=same)


def priced(
    trace, cost, price, *, confidence="classifier", layers=None, **options
):
    """One threshold for each exit: the least read and paid for wrong tokens.

    They are found exit by exit, a few times over.

    Args:
        trace: `ExitTrace`.
        cost: `ExitCost`.
        price: Of a wrong token, in tokens of the full model.
        confidence: One of `CONFIDENCES`.
        layers: Exits to use; `None` is all.
        **options: Of the `ExitSpec`.

    Returns:
        `ExitSpec`.
    """
    layers = layers or trace.layers
    base = _base(layers, {"confidence": confidence, **options})
    made = trace.made
    places = [trace.layers.index(layer) for layer in layers]
    every = trace.rights(base.head)
    grids = [
        np.unique(np.quantile(own, np.linspace(0, 1, GRID)).clip(0, 0.9999))
        for own in trace.confidence[confidence][places][:, made]
    ]
    read = cost.read(base) / cost.full
    # Which token has waited too long depends on all before it: left out here.
    quick = dataclasses.replace(base, missing="propagate")

    def loss(thresholds):
        spec = dataclasses.replace(quick, thresholds=tuple(thresholds))
        exits = chosen_exits(trace, spec)
        right = np.take_along_axis(every, exits[None], axis=0)[0][made]
        return read[exits[made]].mean() + price * (1.0 - right.mean())

    thresholds = list(base.thresholds)
    for _ in range(ROUNDS):
        before = list(thresholds)
        for place, grid in enumerate(grids):
            limits = [*map(_short, grid), 1.0]
            losses = []
            for limit in limits:
                thresholds[place] = limit
                losses.append(loss(thresholds))
            thresholds[place] = limits[int(np.argmin(losses))]
        if thresholds == before:
            break
    return dataclasses.replace(base, thresholds=tuple(thresholds))


def _base(layers, options):
    """A policy by which nothing leaves, with a threshold for each exit."""
    return ExitSpec(thresholds=(1.0,) * len(layers), layers=layers, **options)


def _short(value):
    """A threshold that prints as what it is, never rounded up to 1."""
    return min(float(f"{value:.4f}"), 0.9999)


def calibration_curve(trace, confidence, bins=BINS):
    """How often exits are right where they are so sure.

    Args:
        trace: `ExitTrace`.
        confidence: One of `CONFIDENCES`.
        bins: Equal parts of 0..1.

    Returns:
        List of an exit's list of dicts: `sure` (mean), `right` (share) and
        `tokens` of each part that holds any.
    """
    curves = []
    for index in range(len(trace.layers)):
        sure = trace.confidence[confidence][index][trace.made]
        right = trace.right[index][trace.made]
        places = np.minimum((sure * bins).astype(int), bins - 1)
        curves.append(
            [
                {
                    "sure": float(sure[places == i].mean()),
                    "right": float(right[places == i].mean()),
                    "tokens": int((places == i).sum()),
                }
                for i in range(bins)
                if (places == i).any()
            ]
        )
    return curves
