"""Minima and maxima over windows of time, linear in the length of a trace.

Axes: T samples first, then B traces, so that a part of the time is a part of
the memory. A window of w samples takes log2(w) steps over the whole trace: one
twice as long is the minimum of two that lie side by side.
"""

import keras
from keras import ops


def shift(x, count, fill):
    """What lies `count` samples behind each sample.

    Args:
        x: `(T, B)`.
        count: Number of samples, at least 0.
        fill: What lies behind the end: a number, or `(1, B)`.

    Returns:
        `(T, B)`.
    """
    return _extended(x, count, fill)[count:]


def _extended(x, count, fill):
    """The trace with `count` more samples at its end."""
    if count == 0:
        return x
    tail = ops.broadcast_to(ops.cast(fill, x.dtype), (count, ops.shape(x)[1]))
    return ops.concatenate([x, tail], axis=0)


def windowed(x, start, stop, combine, fill, *, overlap=True):
    """Combines the samples from `start` to `stop` behind each sample.

    Args:
        x: `(T, B)`, or a tuple of such for a `combine` of tuples.
        start: First sample of the window, counted from the present one.
        stop: Last one, included; `None` is the end of the trace.
        combine: Associative function of two such `x`.
        fill: What lies behind the end, as of `shift`; a tuple for tuples.
        overlap: Whether a sample may count twice, as in a minimum.

    Returns:
        As `x`.
    """
    length = keras.tree.flatten(x)[0].shape[0]
    start = min(start, length)
    stop = length if stop is None else min(stop, length)
    count = stop - start + 1

    def cut(value, first, last):
        return keras.tree.map_structure(lambda own: own[first:last], value)

    x = keras.tree.map_structure(
        lambda own, tail: _extended(own, stop, tail)[start:], x, fill
    )
    # From here on x[t] stands for `width` samples from t, and x gets shorter.
    total, done, width = None, 0, 1
    while True:
        if not overlap and count & width:
            part = cut(x, done, done + length)
            total = part if total is None else combine(total, part)
            done += width
        if 2 * width > count:
            break
        x = combine(cut(x, None, -width), cut(x, width, None))
        width *= 2
    if not overlap:
        return total
    rest = count - width
    first = cut(x, 0, length)
    return combine(first, cut(x, rest, rest + length)) if rest else first


def until(left, right, *, inclusive=True):
    """Robustness of `left` until `right`, at any time to the end.

    Args:
        left: What has to hold first, `(T, B)`.
        right: What has to come, `(T, B)`.
        inclusive: Whether `left` has to hold at the sample of `right`, too.

    Returns:
        `(T, B)`.
    """
    # u[t] = min(left[t], max(right[t], u[t + 1])): a clamp of what follows, and
    # a clamp of a clamp is a clamp.
    low = ops.minimum(left, right) if inclusive else right
    high = left if inclusive else ops.maximum(left, right)
    infinity = float("inf")
    width, length = 1, left.shape[0]
    while width < length:
        next_low = shift(low, width, -infinity)
        next_high = shift(high, width, infinity)
        low, high = (
            ops.minimum(high, ops.maximum(low, own))
            for own in (next_low, next_high)
        )
        width *= 2
    # Behind the end nothing can hold any more: the clamp of minus infinity.
    return low
