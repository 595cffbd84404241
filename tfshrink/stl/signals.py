"""What formulas speak of: one number a token, by name."""

import dataclasses
import math
import re

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError


@dataclasses.dataclass(frozen=True)
class Signal:
    """What a signal measures.

    Args:
        meaning: One line.
        low, high: Its range.
        best: Its value where nothing has changed.
        inside: Whether it needs what only a simulation shows: attention, hidden
            states.
        timed: Whether it needs a clock, so an exported artefact.
    """

    meaning: str
    low: float
    high: float
    best: float
    inside: bool = False
    timed: bool = False


SIGNALS = {
    "jsd": Signal(
        "coherence: Jensen-Shannon divergence of the next token, nats",
        0.0,
        math.log(2.0),
        0.0,
    ),
    "attention": Signal(
        "cosine of what a token looks at, in the block where it is least",
        0.0,
        1.0,
        1.0,
        inside=True,
    ),
    "context": Signal(
        "cosine of the last hidden state", -1.0, 1.0, 1.0, inside=True
    ),
    "factual": Signal(
        "probability of the reference's likeliest (or the gold) token, as a "
        "ratio to the reference's",
        0.0,
        math.inf,
        1.0,
    ),
    "logit_cosine": Signal("cosine of the logits", -1.0, 1.0, 1.0),
    "top5_overlap": Signal(
        "share of the reference's five likeliest tokens kept", 0.0, 1.0, 1.0
    ),
    "max_probability_deviation": Signal(
        "difference of the largest probabilities", 0.0, 1.0, 0.0
    ),
    "response_time": Signal(
        "seconds of a token, as a ratio to the reference's",
        0.0,
        math.inf,
        1.0,
        timed=True,
    ),
}
_MEAN = re.compile(r"(\w+?)_mean(\d+)")


def split_name(name):
    """A signal's name as `(base, window)`; `jsd_mean16` is a mean of 16.

    Raises:
        UserError: there is no such signal, or no such window.
    """
    found = _MEAN.fullmatch(name)
    base, window = (found[1], int(found[2])) if found else (name, 1)
    if base not in SIGNALS:
        choices = [*SIGNALS, *(f"{own}_mean16" for own in ("jsd", "factual"))]
        raise unknown_choice("signal", name, choices)
    if window < 1:
        raise UserError(
            f"`signal` {name} must be a mean of at least 1 token. "
            f"Received: {window}"
        )
    return base, window


def windowed(values, window, lengths):
    """Means over the last `window` tokens.

    The first tokens, which have no full window behind them, take the value of
    the first one that is full: nothing but full windows is ever judged.

    Args:
        values: `(N, T)`.
        window: Tokens.
        lengths: Tokens of each row `(N,)`; the rest is padding.

    Returns:
        `(N, T)`.

    Raises:
        UserError: A row is shorter than the window.
    """
    values = np.asarray(values, "float64")
    if window == 1:
        return values
    check_window(window, lengths)
    means = sliding_window_view(values, window, axis=1).mean(axis=-1)
    return np.pad(means, ((0, 0), (window - 1, 0)), mode="edge")


def check_window(window, lengths):
    """Raises a `UserError` if a window is longer than a trace."""
    shortest = int(np.min(lengths))
    if window > shortest:
        raise UserError(
            f"`formula` must not look at windows of {window} tokens where a "
            f"prompt has {shortest}"
        )


def traces(base, names, lengths):
    """The signals of a formula, means among them.

    Args:
        base: Dict of base signal to `(N, T)`.
        names: Names as `split_name` reads them.
        lengths: `(N,)`.

    Returns:
        Dict of name to `(N, T)` float32.

    Raises:
        UserError: A signal was not measured.
    """
    found = {}
    for name in names:
        own, window = split_name(name)
        if own not in base:
            raise UserError(
                f"`signal` {own} is not measured here. There are "
                f"{', '.join(base)}"
            )
        found[name] = windowed(base[own], window, lengths).astype("float32")
    return found
