"""What a policy did: token by token, along the text, from prompt to prompt."""

import numpy as np

from tfshrink.exits.choice import chosen_exits
from tfshrink.exits.choice import sure_of


def token_rows(trace, spec, total=None):
    """What happened to every token, in order.

    Args:
        trace: `ExitTrace`.
        spec: `ExitSpec`.
        total: As in `chosen_exits`.

    Yields:
        Dict: `prompt` and `position` (in the text made), from 0; `exit`, the
        blocks it ran, and `left`, whether those were not all; `confidence` at
        that exit, or at the last one it was asked at; `agrees`, whether its
        token is the full model's.
    """
    chosen = chosen_exits(trace, spec, total)
    used = [trace.layers.index(x) for x in spec.layers_of(trace.layers)]
    asked = np.where(chosen < len(trace.layers), chosen, used[-1])
    sure = _at(sure_of(trace, spec, total), asked)
    right = _at(trace.rights(spec.head), chosen)
    depths = _depths(trace, chosen)
    for row, column in np.argwhere(trace.made).tolist():
        yield {
            "prompt": row,
            "position": int(trace.step[row, column]),
            "exit": int(depths[row, column]),
            "left": bool(chosen[row, column] < len(trace.layers)),
            "confidence": round(float(sure[row, column]), 6),
            "agrees": bool(right[row, column]),
        }


def behaviour(trace, spec, total=None):
    """How a policy behaves along the text, and from prompt to prompt.

    Args:
        trace: `ExitTrace`.
        spec: `ExitSpec`.
        total: As in `chosen_exits`.

    Returns:
        Dict: `positions` and `prompts`, lists of dicts with `position` or
        `prompt`, `exit_rate`, `agreement`, mean `layers` and `tokens`, for
        each token of the text made and for each prompt, in the order of the
        trace.
    """
    chosen = chosen_exits(trace, spec, total)
    values = {
        "exit_rate": chosen < len(trace.layers),
        "agreement": _at(trace.rights(spec.head), chosen),
        "layers": _depths(trace, chosen),
    }

    def rows(name, places):
        found = []
        for place in np.unique(places[trace.made]).tolist():
            own = trace.made & (places == place)
            means = {key: float(x[own].mean()) for key, x in values.items()}
            found.append({name: place, **means, "tokens": int(own.sum())})
        return found

    numbers = np.broadcast_to(np.arange(len(trace))[:, None], trace.made.shape)
    return {
        "positions": rows("position", trace.step),
        "prompts": rows("prompt", numbers),
    }


def _depths(trace, chosen):
    return np.array([*trace.layers, trace.depth])[chosen]


def _at(values, chosen):
    """Values `(E, N, T)` at the exits chosen `(N, T)`."""
    return np.take_along_axis(values, chosen[None], axis=0)[0]
