"""Which signal decides a formula, and where."""

import dataclasses

import numpy as np

from tfshrink.stl import formula as stl


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The predicate that a value rests on.

    Args:
        signal: Name of its signal.
        time: Sample.
        margin: Robustness of the whole formula.
        predicate: The predicate, as text.
        over_tokens: Robustness at each sample of what must always hold; of
            another formula, its own.
    """

    signal: str
    time: int
    margin: float
    predicate: str
    over_tokens: tuple = ()

    def __str__(self):
        word = "satisfied" if self.margin >= 0 else "violated"
        place = f"token {self.time} by {self.signal}"
        if self.margin >= 0:
            place = f"closest at {place}"
        return f"{word}, {place}, margin {self.margin:+.4g}"


def explain(margin, signals, lengths=None):
    """Explains the value of each trace.

    Args:
        margin: Exact `Robustness`.
        signals: As `margin` takes them.
        lengths: The same.

    Returns:
        A list of `Explanation`, one a trace; `None` where no signal decides,
        as in an empty window.

    Example:
        >>> str(explain(Robustness(parse("always(jsd <= .15)")), signals)[0])
        'violated, token 17 by jsd, margin -0.03'
    """
    parts = margin.parts(signals, lengths)
    parts = {text: np.asarray(values) for text, values in parts.items()}
    count, samples = parts[str(margin.formula)].shape
    ends = [samples] * count if lengths is None else np.asarray(lengths)
    return [
        _Search(parts, trace, int(end)).explanation(margin.formula)
        for trace, end in enumerate(ends)
    ]


class _Search:
    """Follows one value of one trace down to the predicate it comes from."""

    def __init__(self, parts, trace, end):
        self.parts = parts
        self.trace = trace
        self.end = end

    def value(self, formula, time):
        return self.parts[str(formula)][self.trace, time]

    def explanation(self, formula):
        found = self.down(formula, 0)
        if found is None:
            return None
        predicate, time = found
        margin = float(self.value(formula, 0))
        always = isinstance(formula, stl.Always)
        followed = self.parts[str(formula.child if always else formula)]
        return Explanation(
            predicate.signal,
            time,
            margin,
            str(predicate),
            tuple(followed[self.trace, : self.end].tolist()),
        )

    def down(self, formula, time):
        """The predicate and the sample that make a value, or `None`."""
        if isinstance(formula, stl.Predicate):
            return formula, time
        wanted = self.value(formula, time)
        for child, place, sign in self.candidates(formula, time):
            if sign * self.value(child, place) == wanted:
                return self.down(child, place)
        return None

    def candidates(self, formula, time):
        """What a value may come from: child, sample and sign."""
        match formula:
            case stl.Not(child):
                yield child, time, -1
            case stl.And(parts) | stl.Or(parts):
                yield from ((part, time, 1) for part in parts)
            case stl.Implies(left, right):
                yield left, time, -1
                yield right, time, 1
            case stl.Always(child) | stl.Eventually(child):
                for place in self.window(formula, time):
                    yield child, place, 1
            case stl.Until(left, right):
                last = time
                for place in self.window(formula, time):
                    yield right, place, 1
                    last = place
                for place in range(time, min(last + 1, self.end)):
                    yield left, place, 1

    def window(self, formula, time):
        stop = self.end - 1
        if formula.stop is not None:
            stop = min(stop, time + formula.stop)
        return range(time + formula.start, stop + 1)
