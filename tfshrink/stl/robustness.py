"""By how much traces satisfy a formula, at every sample.

Axes: B traces, T samples; inside, samples come first.
"""

import functools

import numpy as np
from keras import ops

from tfshrink import backend
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.fusion import fuse
from tfshrink.ops import temporal
from tfshrink.stl import formula as stl
from tfshrink.stl.smooth import SMOOTH

INFINITY = float("inf")
# Samples of all traces from which XLA gains more than its call costs.
FUSED_FROM = 1 << 16
ENDS = ("truncate", "hold", "strict")


class Robustness:
    """Measures a formula; one compiled function serves all calls of a shape.

    Positive is satisfied, negative violated, and the value is how far all
    signals may move before that changes.

    Args:
        formula: `Formula`.
        end: What windows see behind the end of a trace. `"truncate"` cuts
            them: an empty one makes `always` infinite and `eventually` minus
            infinite. `"hold"` repeats the last sample. `"strict"` gives no
            value (NaN) where a bounded window does not fit.
        smooth: `None` for the exact minimum and maximum, which decide; or a
            key of `SMOOTH`, whose gradients reach all samples.
        sharpness: Of a smooth one: the larger, the closer to the exact one.

    Call arguments:
        signals: Dict of name to `(B, T)`.
        lengths: Samples of each trace `(B,)`; the rest is padding. `None` is
            all of them.

    Returns:
        `(B, T)` float32; the value of a trace is that at sample 0, see
        `value`.

    Example:
        >>> margin = Robustness(parse("always[0:3](jsd <= 0.15)"))
        >>> margin({"jsd": np.full((1, 8), 0.1)})[0, 0]
        0.05
    """

    def __init__(self, formula, *, end="truncate", smooth=None, sharpness=20.0):
        if end not in ENDS:
            raise unknown_choice("end", end, ENDS)
        if smooth is not None and smooth not in SMOOTH:
            raise unknown_choice("smooth", smooth, SMOOTH)
        if sharpness <= 0.0:
            raise UserError(
                f"`sharpness` must be positive. Received: {sharpness}"
            )
        self.formula = formula
        self.end = end
        self.algebra = EXACT if smooth is None else SMOOTH[smooth](sharpness)
        # One function object: what it was compiled for is found by it.
        self._whole = lambda *values: self._every(*values)[-1:]
        self._all = backend.Compiled(self._parts)
        self._last = backend.Compiled(lambda *args: self._parts(*args, -1)[0])

    @property
    def traces(self):
        """How often the function was traced."""
        return self._last.traces

    def __call__(self, signals, lengths=None):
        return self._last(*self._checked(signals, lengths))

    def value(self, signals, lengths=None):
        """Robustness of whole traces `(B,)`.

        Raises:
            UserError: a window is longer than a trace and `end` is strict.
        """
        values = self(signals, lengths)[:, 0]
        if self.end == "strict" and np.isnan(np.asarray(values)).any():
            raise UserError(
                f"`signals` must have more than {self.formula.horizon} samples "
                "to be judged by windows of that length. Received: "
                f"{lengths if lengths is not None else self._length(signals)}"
            )
        return values

    def parts(self, signals, lengths=None):
        """Robustness of every sub-formula: its text to `(B, T)`."""
        texts = [str(part) for part in self.formula.subformulas()]
        values = self._all(*self._checked(signals, lengths))
        return dict(zip(texts, values, strict=True))

    def trace(self, signals, lengths=None):
        """As a call, inside of another compiled function."""
        return self._parts(*self._checked(signals, lengths), -1)[0]

    def _length(self, signals):
        return next(iter(signals.values())).shape[1]

    def _checked(self, signals, lengths):
        """What the compiled function takes: only the signals of the formula."""
        names = self.formula.signals()
        missing = sorted(set(names) - set(signals))
        if missing:
            raise UserError(
                f"`signals` must hold {', '.join(names)}. Missing: "
                f"{', '.join(missing)}; there are {', '.join(sorted(signals))}"
            )
        own = {
            name: ops.convert_to_tensor(signals[name], "float32")
            for name in names
        }
        shapes = {name: tuple(value.shape) for name, value in own.items()}
        shape = next(iter(shapes.values()))
        if len(shape) != 2 or not shape[1] or len(set(shapes.values())) > 1:
            raise UserError(
                "`signals` must all be (traces, samples), with a sample at "
                f"least. Received: {shapes}"
            )
        if lengths is not None:
            lengths = ops.convert_to_tensor(lengths, "int32")
        return own, lengths

    def _parts(self, signals, lengths, first=0):
        """Values of sub-formulas, in the order of `subformulas`.

        Args:
            signals: Name to `(B, T)`.
            lengths: `(B,)`, or `None`.
            first: Where in that order to begin.
        """
        values = [ops.transpose(signals[name]) for name in sorted(signals)]
        if lengths is not None:
            values.append(lengths)
        large = np.prod([n or 1 for n in values[0].shape]) >= FUSED_FROM
        # The transposes stay outside: XLA is slow at them on a CPU.
        found = self._whole if first else self._every
        found = (fuse(found) if first and large else found)(*values)
        return [ops.transpose(value) for value in found]

    def _every(self, *values):
        """Values of all sub-formulas, of signals by name and lengths."""
        names, found = self.formula.signals(), []
        lengths = values[len(names)] if len(values) > len(names) else None
        signals = dict(zip(names, values, strict=False))
        _Evaluation(self, signals, lengths, found)(self.formula)
        return found


class _Exact:
    """Minimum and maximum themselves."""

    smallest = functools.partial(functools.reduce, ops.minimum)
    largest = functools.partial(functools.reduce, ops.maximum)

    def windowed_min(self, x, start, stop, fill):
        return temporal.windowed(x, start, stop, ops.minimum, fill)

    def windowed_max(self, x, start, stop, fill):
        return temporal.windowed(x, start, stop, ops.maximum, fill)

    def until(self, left, right, start, stop, fills, inclusive):
        """`left` until `right`, in windows that end at `stop`."""
        held, seen = fills
        if start:
            last = start if inclusive else start - 1
            first = self.windowed_min(left, 0, last, held)
            left = temporal.shift(left, start, held)
            right = temporal.shift(right, start, seen)
        out = temporal.until(left, right, inclusive=inclusive)
        if stop is not None:
            near = self.windowed_max(right, 0, stop - start, seen)
            out = ops.minimum(out, near)
        return ops.minimum(out, first) if start else out


EXACT = _Exact()


class _Evaluation:
    """One pass over a formula, from the predicates up."""

    def __init__(self, owner, signals, lengths, found):
        self.end = owner.end
        self.algebra = owner.algebra
        self.signals = signals
        self.found = found
        first = next(iter(signals.values()))
        self.places = ops.arange(first.shape[0])[:, None]
        self.lengths = first.shape[0]
        self.padded = None
        if lengths is not None:
            self.lengths = lengths[None]
            self.padded = self.places >= self.lengths

    def __call__(self, formula):
        values = [self(child) for child in formula.children]
        out = RULES[type(formula)](self, formula, *values)
        if self.end == "strict" and formula.horizon:
            out = ops.where(
                self.places >= self.lengths - formula.horizon, np.nan, out
            )
        self.found.append(out)
        return out

    def predicate(self, formula):
        value = self.signals[formula.signal]
        if self.end == "hold" and self.padded is not None:
            last = ops.take_along_axis(value, self.lengths - 1, axis=0)
            value = ops.where(self.padded, last, value)
        if formula.comparison == ">=":
            return value - formula.threshold
        return formula.threshold - value

    def within(self, value, outside):
        """The values and what lies behind the end, for one reduction.

        Args:
            value: `(T, B)`.
            outside: What changes nothing, for samples that are not there.
        """
        if self.end == "hold":
            return value, value[-1:]
        if self.end == "strict":
            value = ops.where(ops.isnan(value), outside, value)
        if self.padded is not None:
            value = ops.where(self.padded, outside, value)
        return value, outside

    def always(self, formula, value):
        value, fill = self.within(value, INFINITY)
        return self.algebra.windowed_min(
            value, formula.start, formula.stop, fill
        )

    def eventually(self, formula, value):
        value, fill = self.within(value, -INFINITY)
        return self.algebra.windowed_max(
            value, formula.start, formula.stop, fill
        )

    def until(self, formula, left, right):
        left, held = self.within(left, INFINITY)
        right, seen = self.within(right, -INFINITY)
        return self.algebra.until(
            left,
            right,
            formula.start,
            formula.stop,
            (held, seen),
            formula.inclusive,
        )


RULES = {
    stl.Predicate: _Evaluation.predicate,
    stl.Not: lambda own, formula, value: -value,
    stl.And: lambda own, formula, *values: own.algebra.smallest(values),
    stl.Or: lambda own, formula, *values: own.algebra.largest(values),
    stl.Implies: lambda own, formula, left, right: own.algebra.largest(
        [-left, right]
    ),
    stl.Always: _Evaluation.always,
    stl.Eventually: _Evaluation.eventually,
    stl.Until: _Evaluation.until,
}
