"""Minima and maxima over windows of time, linear in the length of a trace.

Axes: B traces, T samples. A window of w samples takes log2(w) steps over the
whole trace: one twice as long is the minimum of two that lie side by side.
"""

import keras
from keras import ops


def shift(x, count, fill):
    """What lies `count` samples behind each sample.

    Args:
        x: `(B, T)`.
        count: Number of samples, at least 0.
        fill: What lies behind the end: a number, or `(B, 1)`.

    Returns:
        `(B, T)`.
    """
    if count == 0:
        return x
    length = x.shape[-1]
    tail = ops.zeros_like(x[:, : min(count, length)]) + fill
    return ops.concatenate([x[:, count:], tail], axis=-1)


def windowed(x, start, stop, combine, fill, *, overlap=True):
    """Combines the samples from `start` to `stop` behind each sample.

    Args:
        x: `(B, T)`, or a tuple of such for a `combine` of tuples.
        start: First sample of the window, counted from the present one.
        stop: Last one, included; `None` is the end of the trace.
        combine: Associative function of two such `x`.
        fill: What lies behind the end, as of `shift`; a tuple for tuples.
        overlap: Whether a sample may count twice, as in a minimum.

    Returns:
        As `x`.
    """
    length = keras.tree.flatten(x)[0].shape[-1]
    count = length if stop is None else min(stop, length) - start + 1
    if start >= length:
        count = 1  # all of the window lies behind the end

    def shifted(value, steps):
        return keras.tree.map_structure(
            lambda part, own: shift(part, steps, own), value, fill
        )

    x = shifted(x, min(start, length))
    if overlap:
        width = 1
        while 2 * width <= count:
            x = combine(x, shifted(x, width))
            width *= 2
        rest = count - width
        return combine(x, shifted(x, rest)) if rest > 0 else x
    done, total, width = 0, None, 1
    while True:  # the bits of the count, from the lowest
        if count & width:
            part = shifted(x, done)
            total = part if total is None else combine(total, part)
            done += width
        if 2 * width > count:
            return total
        x = combine(x, shifted(x, width))
        width *= 2


def until(left, right, *, inclusive=True):
    """Robustness of `left` until `right`, at any time to the end.

    Args:
        left: What has to hold first, `(B, T)`.
        right: What has to come, `(B, T)`.
        inclusive: Whether `left` has to hold at the sample of `right`, too.

    Returns:
        `(B, T)`.
    """
    # u[t] = min(left[t], max(right[t], u[t + 1])): a clamp of what follows, and
    # a clamp of a clamp is a clamp.
    low = ops.minimum(left, right) if inclusive else right
    high = left if inclusive else ops.maximum(left, right)
    infinity = float("inf")
    width, length = 1, left.shape[-1]
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
