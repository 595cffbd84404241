"""Formulas of Signal Temporal Logic, as data.

Times count samples; a signal has one value a token. Thresholds are in the unit
of their signal.
"""

import dataclasses
import math
import numbers

from tfshrink.errors import UserError

COMPARISONS = ("<=", ">=")


class Formula:
    """What a trace may satisfy.

    `&`, `|` and `~` combine formulas; `str` gives the text that `parse` reads.

    Example:
        >>> low = Predicate("jsd", "<=", 0.15)
        >>> str(Always(low, 0, 31) & ~Predicate("loss", ">=", 9.0))
        'always[0:31](jsd <= 0.15) and not(loss >= 9)'
    """

    @property
    def children(self):
        """The formulas that this one is made of, a tuple."""
        return ()

    @property
    def horizon(self):
        """Samples behind the present one that bounded windows look at."""
        return max((child.horizon for child in self.children), default=0)

    def subformulas(self):
        """Yields every formula inside, itself last."""
        for child in self.children:
            yield from child.subformulas()
        yield self

    def signals(self):
        """Names of the signals, sorted."""
        parts = self.subformulas()
        return sorted({p.signal for p in parts if isinstance(p, Predicate)})

    def __and__(self, other):
        return And((*_same(self, And), *_same(other, And)))

    def __or__(self, other):
        return Or((*_same(self, Or), *_same(other, Or)))

    def __invert__(self):
        return Not(self)


def _same(formula, kind):
    """The parts of a conjunction of conjunctions are parts of it."""
    return formula.children if isinstance(formula, kind) else (formula,)


@dataclasses.dataclass(frozen=True)
class Predicate(Formula):
    """A signal on one side of a threshold.

    Args:
        signal: Name of the signal.
        comparison: `"<="` or `">="`.
        threshold: Number.
    """

    signal: str
    comparison: str
    threshold: float

    def __post_init__(self):
        if self.comparison not in COMPARISONS:
            raise UserError(
                f"`comparison` must be <= or >=. Received: {self.comparison!r}"
            )
        number = isinstance(self.threshold, numbers.Real)
        if not number or not math.isfinite(self.threshold):
            raise UserError(
                f"`threshold` of {self.signal} must be a finite number. "
                f"Received: {self.threshold!r}"
            )

    def __str__(self):
        return f"{self.signal} {self.comparison} {self.threshold:.12g}"


@dataclasses.dataclass(frozen=True)
class Not(Formula):
    """The opposite of a formula."""

    child: Formula

    @property
    def children(self):
        return (self.child,)

    def __str__(self):
        return f"not({self.child})"


@dataclasses.dataclass(frozen=True)
class _Junction(Formula):
    parts: tuple

    def __post_init__(self):
        if not self.parts:
            raise UserError(
                f"`parts` of {type(self).__name__} must hold a formula. "
                "Received: none"
            )

    @property
    def children(self):
        return self.parts

    def __str__(self):
        return f" {self.word} ".join(_inner(part) for part in self.parts)


@dataclasses.dataclass(frozen=True)
class And(_Junction):
    """All of several formulas.

    Args:
        parts: Tuple of formulas.
    """

    word = "and"


@dataclasses.dataclass(frozen=True)
class Or(_Junction):
    """At least one of several formulas.

    Args:
        parts: Tuple of formulas.
    """

    word = "or"


@dataclasses.dataclass(frozen=True)
class Implies(Formula):
    """The right formula wherever the left one holds."""

    left: Formula
    right: Formula

    @property
    def children(self):
        return (self.left, self.right)

    def __str__(self):
        return f"{_inner(self.left)} implies {_inner(self.right)}"


@dataclasses.dataclass(frozen=True)
class _Window(Formula):
    child: Formula
    start: int = 0
    stop: int | None = None

    def __post_init__(self):
        check_interval(self.start, self.stop)

    @property
    def children(self):
        return (self.child,)

    @property
    def horizon(self):
        return (self.stop or 0) + self.child.horizon

    def __str__(self):
        return f"{self.word}{_interval(self)}({self.child})"


@dataclasses.dataclass(frozen=True)
class Always(_Window):
    """A formula at every sample from `start` to `stop` behind the present.

    Args:
        child: Formula.
        start, stop: Samples, both included; a `stop` of `None` is the end.
    """

    word = "always"


@dataclasses.dataclass(frozen=True)
class Eventually(_Window):
    """A formula at one sample at least; arguments as of `Always`."""

    word = "eventually"


@dataclasses.dataclass(frozen=True)
class Until(Formula):
    """The left formula until the right one holds.

    Args:
        left, right: Formulas.
        start, stop: When the right one holds, as of `Always`.
        inclusive: Whether the left one has to hold at that sample, too.
    """

    left: Formula
    right: Formula
    start: int = 0
    stop: int | None = None
    inclusive: bool = True

    def __post_init__(self):
        check_interval(self.start, self.stop)

    @property
    def children(self):
        return (self.left, self.right)

    @property
    def horizon(self):
        return (self.stop or 0) + max(self.left.horizon, self.right.horizon)

    def __str__(self):
        return f"({self.left}) until{_interval(self)} ({self.right})"


def check_interval(start, stop):
    """Raises a `UserError` unless these are samples in order."""
    whole = [x for x in (start, stop) if x is not None]
    for value in whole:
        integer = isinstance(value, numbers.Integral)
        if not integer or isinstance(value, bool) or value < 0:
            raise UserError(
                "`interval` must be two whole numbers of samples, from 0 on. "
                f"Received: [{start}:{stop}]"
            )
    if start is None or (stop is not None and stop < start):
        raise UserError(
            "`interval` must not end before it begins. "
            f"Received: [{start}:{stop}]"
        )


def _interval(formula):
    if formula.stop is None and formula.start == 0:
        return ""
    stop = "inf" if formula.stop is None else formula.stop
    return f"[{formula.start}:{stop}]"


def _inner(formula):
    """The text of a part, in brackets where it would be read otherwise."""
    plain = (Predicate, Not, _Window)
    return str(formula) if isinstance(formula, plain) else f"({formula})"
