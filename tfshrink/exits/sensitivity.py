"""What each parameter of a policy does, one changed at a time."""

import dataclasses

from tfshrink.errors import UserError
from tfshrink.exits.choice import summary

SHIFTS = (-0.2, -0.1, -0.05, 0.05, 0.1, 0.2)  # of a threshold
MARGINS = (0.05, 0.1, 0.2, 0.4)
PENDING = (1, 2, 4, 8, 16, 32)
FLOORS = (0.9, 0.7, 0.5)  # of `decay`
RATES = (1.0, 4.0, 16.0)
TARGETS = (-0.2, -0.1, 0.1, 0.2)  # beside the share that leaves
KEPT = ("agreement", "exit_rate", "layers", "weights_read")


def sensitivity(trace, spec, cost, total=None):
    """Changes one parameter of a policy at a time.

    Args:
        trace: `ExitTrace`.
        spec: `ExitSpec` to change.
        cost: `ExitCost`.
        total: As in `chosen_exits`.

    Returns:
        List of dicts, the unchanged policy first: `parameter`, `value`, what
        `summary` says of `agreement`, `exit_rate`, `layers`, `weights_read`,
        and `agreement_change` and `weights_change`, less the unchanged ones.
    """
    base = summary(trace, spec, cost, total)
    rows = [_row("unchanged", str(spec), base, base)]
    for parameter, value, changes in variants(spec, trace.layers, base):
        try:
            own = dataclasses.replace(spec, **changes)
            found = summary(trace, own, cost, total)
        except UserError:
            continue  # such as a cosine, or a learned policy, of fewer exits
        rows.append(_row(parameter, value, found, base))
    return rows


def variants(spec, exits, base):
    """Changes that are worth a try: `(parameter, value, fields)`.

    Args:
        spec: `ExitSpec`.
        exits: Layers of the model's exits.
        base: What `summary` says of it.
    """
    layers = spec.layers_of(exits)
    every = dict(zip(exits, spec.thresholds_of(exits), strict=True))
    limits = [every[layer] for layer in layers]
    fixed = {"layers": layers}
    open_at = [i for i, limit in enumerate(limits) if limit < 1.0]

    def moved(places, shift):
        own = [_moved(x, shift) if i in places else x for i, x in limited]
        return {**fixed, "thresholds": tuple(own)}

    limited = list(enumerate(limits))
    for shift in SHIFTS if open_at else ():
        yield "thresholds", f"{shift:+g}", moved(open_at, shift)
    if len(layers) > 1:
        for place in open_at:
            for shift in SHIFTS:
                name = f"threshold behind {layers[place]}"
                yield name, f"{shift:+g}", moved([place], shift)
        for place, layer in enumerate(layers):
            kept = [i for i in range(len(layers)) if i != place]
            rest = {
                "layers": tuple(layers[i] for i in kept),
                "thresholds": tuple(limits[i] for i in kept),
            }
            yield "layers", f"without {layer}", rest
    for margin in MARGINS:
        if margin != spec.margin:
            yield "margin", f"{margin:g}", {"margin": margin}
    if spec.missing == "lazy":
        for pending in PENDING:
            if pending != spec.pending:
                yield "pending", f"{pending}", {"pending": pending}
    yield from _schedules(spec, base)


def _schedules(spec, base):
    decay = {"schedule": "decay", "target": None}
    for floor in FLOORS:
        own = {**decay, "floor": floor}
        if spec.schedule != "decay" or floor != spec.floor:
            yield "floor of a decay", f"{floor:g}", own
    for rate in RATES:
        own = {**decay, "rate": rate}
        if spec.schedule != "decay" or rate != spec.rate:
            yield "rate of a decay", f"{rate:g}", own
    for shift in TARGETS:
        target = round(base["exit_rate"] + shift, 2)
        if 0.0 <= target <= 1.0:
            own = {"schedule": "dynamic", "target": target}
            yield "target", f"{target:g}", own


def _moved(limit, shift):
    return min(max(round(limit + shift, 4), 0.0), 0.9999)


def _row(parameter, value, found, base):
    return {
        "parameter": parameter,
        "value": value,
        **{name: found[name] for name in KEPT},
        "agreement_change": found["agreement"] - base["agreement"],
        "weights_change": found["weights_read"] - base["weights_read"],
    }
