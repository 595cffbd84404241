"""Smooth minima and maxima: gradients reach every sample of a window.

They guide a search and never decide: the first lies above the maximum by up to
log(n) / sharpness for n values, the second below it.
"""

from keras import ops

from tfshrink.errors import UserError
from tfshrink.ops import temporal

LARGE = 1e6  # stands for infinity: its weight is 0, and so is its gradient
LONGEST = 256  # samples of an `until`, which costs as many steps


class LogSumExp:
    """log(sum(exp(k x))) / k, an upper bound of the maximum.

    Args:
        sharpness: k.
    """

    def __init__(self, sharpness):
        self.sharpness = sharpness

    def lift(self, x):
        """A value as what `combine` joins."""
        return self.sharpness * ops.clip(x, -LARGE, LARGE)

    def combine(self, a, b):
        """The joint state of two sets of values."""
        return ops.logaddexp(a, b)

    def lower(self, state):
        """The maximum that a state stands for."""
        return state / self.sharpness

    def largest(self, values):
        """Smooth maximum of several traces."""
        state = self.lift(values[0])
        for value in values[1:]:
            state = self.combine(state, self.lift(value))
        return self.lower(state)

    def smallest(self, values):
        """Smooth minimum of several traces."""
        return -self.largest([-value for value in values])

    def windowed_max(self, x, start, stop, fill):
        """Smooth maximum over windows; arguments as `temporal.windowed`."""
        state = temporal.windowed(
            self.lift(x),
            start,
            stop,
            self.combine,
            self.lift(ops.convert_to_tensor(fill, "float32")),
            overlap=False,
        )
        return self.lower(state)

    def windowed_min(self, x, start, stop, fill):
        """Smooth minimum over windows."""
        return -self.windowed_max(-x, start, stop, -fill)

    def until(self, left, right, start, stop, fills, inclusive):
        """Smooth `left` until `right`, sample after sample of the window."""
        held, seen = fills
        length = left.shape[0]
        last = length - 1 if stop is None else min(stop, length)
        if last - start >= LONGEST:
            raise UserError(
                f"`until` must look at fewer than {LONGEST} samples where it "
                f"is smooth. Received: {last - start + 1}"
            )
        kept = total = None  # minus the left side so far; the maximum so far
        for place in range(last + 1):
            now = self.lift(-temporal.shift(left, min(place, length), held))
            before = kept
            kept = now if kept is None else self.combine(kept, now)
            if place < start:
                continue
            parts = [temporal.shift(right, min(place, length), seen)]
            state = kept if inclusive else before
            if state is not None:
                parts.append(-self.lower(state))
            own = self.lift(self.smallest(parts))
            total = own if total is None else self.combine(total, own)
        return self.lower(total)


class Softmax(LogSumExp):
    """The mean weighted by exp(k x), a lower bound of the maximum."""

    def lift(self, x):
        x = ops.clip(x, -LARGE, LARGE)
        return self.sharpness * x, x

    def combine(self, a, b):
        weight = ops.logaddexp(a[0], b[0])
        first, second = (ops.exp(own[0] - weight) for own in (a, b))
        return weight, first * a[1] + second * b[1]

    def lower(self, state):
        return state[1]


SMOOTH = {"lse": LogSumExp, "softmax": Softmax}
