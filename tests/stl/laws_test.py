"""Laws of robustness, on formulas and traces that nobody chose."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from hypothesis.extra import numpy as arrays

from tests.stl.random_formulas import NAMES
from tests.stl.random_formulas import robustness
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.errors import UserError
from tfshrink.stl import formula as stl
from tfshrink.stl.parse import parse
from tfshrink.stl.robustness import Robustness

SAMPLES = 7
# Sums and differences of such numbers are exact in float32.
NUMBERS = st.integers(-64, 64).map(lambda n: n / 64)
SIGNALS = st.fixed_dictionaries(
    {
        name: arrays.arrays("float32", (2, SAMPLES), elements=NUMBERS)
        for name in NAMES
    }
)
TIMES = st.tuples(st.integers(0, 4), st.none() | st.integers(0, 5)).map(
    lambda own: (own[0], None if own[1] is None else own[0] + own[1])
)


def predicates(comparisons=stl.COMPARISONS):
    return st.builds(
        stl.Predicate,
        st.sampled_from(NAMES),
        st.sampled_from(comparisons),
        NUMBERS,
    )


def _wider(rising):
    """Adds an operator; `rising` leaves out those that turn a sign."""

    def grown(own):
        two = st.tuples(own, own)
        windows = [
            st.builds(lambda child, t, kind=kind: kind(child, *t), own, TIMES)
            for kind in (stl.Always, stl.Eventually)
        ]
        until = st.builds(
            lambda parts, t, last: stl.Until(*parts, *t, inclusive=last),
            two,
            TIMES,
            st.booleans(),
        )
        more = [st.builds(stl.And, two), st.builds(stl.Or, two), until]
        if not rising:
            more.append(st.builds(stl.Not, own))
            more.append(st.builds(stl.Implies, own, own))
        return st.one_of(*windows, *more)

    return grown


FORMULAS = st.recursive(predicates(), _wider(False), max_leaves=4)
# Without negation, and only signals that are to be large.
RISING = st.recursive(predicates((">=",)), _wider(True), max_leaves=4)


def values(formula, signals, lengths=None):
    return to_numpy(Robustness(formula).trace(signals, lengths))


class LawsTest(TestCase):
    def same(self, one, other, signals):
        self.assertAllEqual(values(one, signals), values(other, signals))

    @given(FORMULAS, FORMULAS, SIGNALS)
    def test_de_morgan(self, a, b, signals):
        self.same(~stl.And((a, b)), stl.Or((~a, ~b)), signals)
        self.same(~stl.Or((a, b)), stl.And((~a, ~b)), signals)
        self.same(stl.Implies(a, b), stl.Or((~a, b)), signals)

    @given(FORMULAS, TIMES, SIGNALS)
    def test_always_and_eventually_are_dual(self, a, times, signals):
        self.same(~stl.Always(a, *times), stl.Eventually(~a, *times), signals)
        self.same(~~a, a, signals)

    @given(RISING, SIGNALS, st.integers(0, 64).map(lambda n: n / 64))
    def test_larger_signals_satisfy_more(self, formula, signals, more):
        raised = {name: own + more for name, own in signals.items()}
        before, after = values(formula, signals), values(formula, raised)
        self.assertTrue((after >= before).all())
        # By as much as they rose, for nothing else decides.
        finite = np.isfinite(before)
        self.assertAllEqual(after[finite], (before + np.float32(more))[finite])

    @given(FORMULAS, TIMES, st.integers(0, 3), SIGNALS)
    def test_a_longer_window_asks_more_of_always(self, a, times, more, signals):
        start, stop = times
        longer = start, None if stop is None else stop + more
        for kind, sign in ((stl.Always, 1), (stl.Eventually, -1)):
            short = sign * values(kind(a, start, stop), signals)
            wide = sign * values(kind(a, *longer), signals)
            self.assertTrue((wide <= short).all())

    @given(FORMULAS, SIGNALS)
    def test_its_sign_is_what_boolean_logic_says(self, formula, signals):
        found = values(formula, signals)
        for trace in range(2):
            own = {name: rows[trace] for name, rows in signals.items()}
            for time in range(SAMPLES):
                margin = found[trace, time]
                self.assertEqual(margin, robustness(formula, own, time))
                if margin:
                    self.assertEqual(margin > 0, holds(formula, own, time))

    @given(FORMULAS, SIGNALS, SIGNALS, st.integers(1, SAMPLES))
    def test_traces_know_nothing_of_padding_and_neighbours(
        self, formula, signals, others, length
    ):
        """Read in parts, traces have the values they have in one."""
        padded = {
            name: np.where(np.arange(SAMPLES) < length, own, others[name])
            for name, own in signals.items()
        }
        lengths = np.full(2, length, "int32")
        found = values(formula, padded, lengths)[:, :length]
        for trace in range(2):
            alone = {
                name: own[trace : trace + 1, :length]
                for name, own in signals.items()
            }
            self.assertAllEqual(found[trace], values(formula, alone)[0])

    @given(FORMULAS)
    def test_text_gives_the_formula_back(self, formula):
        again = parse(str(formula))
        self.assertEqual(str(again), str(formula))
        self.assertEqual(again.signals(), formula.signals())

    @given(
        st.text()
        | st.lists(
            st.sampled_from(
                (
                    "always",
                    "[0:",
                    "3]",
                    "(",
                    ")",
                    "a",
                    ">=",
                    "1",
                    "1e999",
                    "inf",
                    "not ",
                    "!",
                    "and",
                    "until",
                    "->",
                    " ",
                    "\n",
                    "[",
                    "]",
                    "\u2028",
                )
            )
        ).map("".join)
    )
    def test_any_text_is_read_or_refused(self, text):
        try:
            str(parse(text))
        except UserError as error:
            self.assertNotEmpty(str(error))

    def test_what_is_too_deep_is_refused(self):
        for text in ("!" * 5000 + "a >= 1", "(" * 5000, "F " * 5000 + "a >= 1"):
            with self.assertRaises(UserError):
                parse(text)
        with self.assertRaisesRegex(UserError, "whole numbers of samples"):
            parse("always[0:1e999](a >= 1)")


def holds(formula, signals, time):
    """Whether Boolean logic calls a formula true at a sample of a trace."""
    length = len(next(iter(signals.values())))

    def at(part, place):
        return holds(part, signals, place)

    def window(first, stop):
        last = length - 1 if stop is None else min(time + stop, length - 1)
        return range(time + first, last + 1)

    match formula:
        case stl.Predicate(signal, comparison, threshold):
            own = signals[signal][time]
            return own >= threshold if comparison == ">=" else own <= threshold
        case stl.Not(child):
            return not at(child, time)
        case stl.And(parts):
            return all(at(part, time) for part in parts)
        case stl.Or(parts):
            return any(at(part, time) for part in parts)
        case stl.Implies(left, right):
            return not at(left, time) or at(right, time)
        case stl.Always(child, first, stop):
            return all(at(child, place) for place in window(first, stop))
        case stl.Eventually(child, first, stop):
            return any(at(child, place) for place in window(first, stop))
        case stl.Until(left, right, first, stop, inclusive):
            return any(
                at(right, place)
                and all(at(left, t) for t in range(time, place + inclusive))
                for place in window(first, stop)
            )
    raise TypeError(f"{type(formula).__name__} is no formula")
