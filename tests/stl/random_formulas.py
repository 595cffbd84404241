"""Random formulas and traces, and their robustness by definition."""

import math

from tfshrink.stl import formula as stl

NAMES = ("a", "b", "c")


def random_formula(random, depth):
    """A formula of at most `depth` operators above each other.

    Args:
        random: `numpy.random.Generator`.
        depth: Operators.
    """
    kind = random.integers(0, 9) if depth else 0
    if kind <= 1:
        return stl.Predicate(
            str(random.choice(NAMES)),
            str(random.choice(stl.COMPARISONS)),
            float(random.integers(-64, 65)) / 64,
        )
    child, other = (random_formula(random, depth - 1) for _ in range(2))
    if kind == 2:
        return stl.Not(child)
    if kind in (3, 4, 5):
        makers = {3: stl.And, 4: stl.Or}
        if kind in makers:
            return makers[kind]((child, other))
        return stl.Implies(child, other)
    start, stop = 0, None
    if random.random() < 0.75:
        start = int(random.integers(0, 5))
        stop = start + int(random.integers(0, 8))
    if kind == 6:
        return stl.Always(child, start, stop)
    if kind == 7:
        return stl.Eventually(child, start, stop)
    # As rtamt reads it.
    return stl.Until(child, other, start, stop, inclusive=False)


def random_signals(random, traces, samples):
    """Dict of name to `(traces, samples)`, multiples of 1/64."""
    shape = (traces, samples)
    return {
        name: random.integers(-127, 128, shape).astype("float32") / 64
        for name in NAMES
    }


def robustness(formula, signals, time=0):
    """The value at one sample of one trace, straight from the definition.

    Args:
        formula: `Formula`.
        signals: Dict of name to `(T,)`; windows end with it.
        time: Sample.
    """
    length = len(next(iter(signals.values())))

    def at(part, place):
        return robustness(part, signals, place)

    def window(first, stop):
        last = length - 1 if stop is None else time + stop
        return range(time + first, min(last, length - 1) + 1)

    match formula:
        case stl.Predicate(signal, comparison, threshold):
            margin = signals[signal][time] - threshold
            return margin if comparison == ">=" else -margin
        case stl.Not(child):
            return -at(child, time)
        case stl.And(parts):
            return min(at(part, time) for part in parts)
        case stl.Or(parts):
            return max(at(part, time) for part in parts)
        case stl.Implies(left, right):
            return max(-at(left, time), at(right, time))
        case stl.Always(child, first, stop):
            values = [at(child, place) for place in window(first, stop)]
            return min(values, default=math.inf)
        case stl.Eventually(child, first, stop):
            values = [at(child, place) for place in window(first, stop)]
            return max(values, default=-math.inf)
        case stl.Until(left, right, first, stop, inclusive):
            found = -math.inf
            for place in window(first, stop):
                held = [at(left, t) for t in range(time, place + inclusive)]
                own = min([at(right, place), *held])
                found = max(found, own)
            return found
