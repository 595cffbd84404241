import pathlib

import numpy as np
from absl.testing import parameterized

from tests.stl import random_formulas
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink import backend
from tfshrink.errors import UserError
from tfshrink.stl import formula as stl
from tfshrink.stl.parse import parse
from tfshrink.stl.robustness import Robustness

GOLDEN = pathlib.Path(__file__).parents[1] / "golden/stl_robustness.npz"


def rows(**signals):
    """One trace of each."""
    return {name: np.array([row], "float32") for name, row in signals.items()}


class RobustnessTest(TestCase):
    def test_values_and_traces_are_those_of_rtamt(self):
        golden = np.load(GOLDEN)
        self.assertLen(golden["texts"], 1000)
        # Formulas of the same text would hide one another.
        self.assertGreater(len(set(golden["texts"].tolist())), 990)
        for text, inputs, wanted in zip(
            golden["texts"],
            golden["signals"],
            golden["robustness"],
            strict=True,
        ):
            formula = as_rtamt(parse(str(text)))
            signals = dict(zip("abc", inputs[:, None], strict=True))
            found = Robustness(formula).trace(signals)
            self.assertAllEqual(to_numpy(found)[0], wanted, str(text))

    @parameterized.parameters(True, False)
    def test_it_is_what_the_definition_says(self, inclusive):
        random = np.random.default_rng(1)
        for _ in range(60):
            formula = random_formulas.random_formula(random, 3)
            formula = as_rtamt(formula, inclusive)
            signals = random_formulas.random_signals(random, 2, 11)
            lengths = np.array([11, 7], "int32")
            found = to_numpy(Robustness(formula).trace(signals, lengths))
            for trace, length in enumerate(lengths):
                own = {k: v[trace, :length] for k, v in signals.items()}
                wanted = [
                    random_formulas.robustness(formula, own, time)
                    for time in range(length)
                ]
                self.assertAllEqual(found[trace, :length], wanted)

    def test_one_trace_serves_all_calls(self):
        margin = Robustness(parse("always[0:2](a >= 1)"))
        for value in (1.0, 2.0, 3.0):
            found = margin.value(rows(a=[value] * 5))
            self.assertAllClose(found, [value - 1.0])
        self.assertEqual(margin.traces, 1)

    def test_ends_of_traces(self):
        signals = rows(a=[3, 2, 1, 4])
        formula = parse("always[1:2](a >= 0)")
        found = {
            end: to_numpy(Robustness(formula, end=end)(signals))[0]
            for end in ("truncate", "hold", "strict")
        }
        self.assertAllEqual(found["truncate"], [1, 1, 4, np.inf])
        self.assertAllEqual(found["hold"], [1, 1, 4, 4])
        self.assertAllEqual(found["strict"][:2], [1, 1])
        self.assertTrue(np.isnan(found["strict"][2:]).all())

    def test_padding_is_behind_the_end(self):
        signals = rows(a=[3, 2, -9, -9])
        lengths = np.array([2], "int32")
        for text, end, wanted in (
            ("always(a >= 0)", "truncate", [2, 2]),
            ("always(a >= 0)", "hold", [2, 2]),
            ("eventually[2:3](a >= 0)", "truncate", [-np.inf, -np.inf]),
            ("eventually[2:3](a >= 0)", "hold", [2, 2]),
        ):
            found = Robustness(parse(text), end=end)(signals, lengths)
            self.assertAllEqual(to_numpy(found)[0, :2], wanted, (text, end))

    def test_what_does_not_fit_has_no_value(self):
        margin = Robustness(parse("always[0:4](a >= 0)"), end="strict")
        signals = rows(a=[1, 2, 3, 4, 5])
        self.assertAllEqual(margin.value(signals), [1])
        with self.assertRaisesRegex(UserError, "more than 4 samples"):
            margin.value(signals, np.array([4], "int32"))

    def test_strict_ignores_what_has_no_value_itself(self):
        margin = Robustness(
            parse("eventually(always[0:2](a >= 0))"), end="strict"
        )
        # The best window that is whole, not the short ones at the end.
        self.assertAllEqual(margin.value(rows(a=[1, 2, 1, 9, 9])), [1])

    def test_every_part_has_values(self):
        formula = parse("always[0:1](a >= 1) and b <= 2")
        parts = Robustness(formula).parts(rows(a=[3, 2, 1], b=[0, 1, 5]))
        self.assertEqual(
            list(parts),
            ["a >= 1", "always[0:1](a >= 1)", "b <= 2", str(formula)],
        )
        self.assertAllEqual(parts["always[0:1](a >= 1)"], [[1, 0, 0]])
        self.assertAllEqual(parts[str(formula)], [[1, 0, -3]])

    def test_gradients_of_the_exact_value_go_to_what_decides(self):
        def loss():
            margin = Robustness(parse("always[0:3](a >= 0)"))
            return backend_sum(margin.trace({"a": x})[:, :1]), 0.0

        x = variable([[4.0, 1.0, 3.0, 2.0]])
        _, _, (gradient,) = backend.value_and_gradients(loss, [x])
        self.assertAllEqual(gradient, [[0, 1, 0, 0]])

    @parameterized.parameters(
        ({}, {"b": [[1.0]]}, "Missing: a"),
        ({}, {"a": [1.0]}, r"must all be \(traces, samples\)"),
        ({}, {"a": np.zeros((2, 0))}, "a sample at least"),
        ({"end": "cut"}, None, "`end`"),
        ({"smooth": "lsee"}, None, "Did you mean `lse`"),
        ({"smooth": "lse", "sharpness": 0.0}, None, "must be positive"),
    )
    def test_a_mistake_is_named(self, options, signals, message):
        with self.assertRaisesRegex(UserError, message):
            Robustness(parse("a >= 1"), **options)(signals)


class SmoothTest(TestCase):
    TEXT = (
        "always[0:4](a >= 0) and (eventually[1:5](b >= 0) or "
        "not((a >= 0) until[1:3] (c >= 0))) and (b >= 0 implies c >= -9)"
    )

    @parameterized.parameters("lse", "softmax")
    def test_sharper_is_closer_to_exact(self, kind):
        random = np.random.default_rng(0)
        signals = random_formulas.random_signals(random, 8, 20)
        formula = parse(self.TEXT)
        exact = to_numpy(Robustness(formula).value(signals))
        errors = []
        for sharpness in (2.0, 20.0, 200.0):
            margin = Robustness(formula, smooth=kind, sharpness=sharpness)
            found = to_numpy(margin.value(signals))
            errors.append(np.abs(found - exact).max())
        self.assertLess(errors[1], 0.3 * errors[0])
        self.assertLess(errors[2], 0.02)

    @parameterized.parameters("lse", "softmax")
    def test_gradients_are_those_of_small_steps(self, kind):
        random = np.random.default_rng(0)
        start = random.normal(size=(1, 12)).astype("float32")
        formula = parse("(a >= 0) until[0:4] (a >= .5) or always[1:6](a >= 0)")
        margin = Robustness(formula, smooth=kind, sharpness=3.0)

        def value(array):
            return to_numpy(margin.value({"a": array}))[0]

        def loss():
            return backend_sum(margin.trace({"a": x})[:, :1]), 0.0

        x = variable(start)
        _, _, (gradient,) = backend.value_and_gradients(loss, [x])
        gradient = to_numpy(gradient)
        self.assertGreater((np.abs(gradient) > 1e-4).sum(), 6)
        for place in range(12):
            step = np.zeros_like(start)
            step[0, place] = 1e-2
            slope = (value(start + step) - value(start - step)) / 2e-2
            self.assertAllClose(gradient[0, place], slope, atol=2e-3)

    def test_windows_at_the_end_have_finite_gradients(self):
        def loss():
            margin = Robustness(
                parse("always[0:9](a >= 0) and eventually[3:9](a >= 0)"),
                smooth="lse",
            )
            return backend_sum(margin.trace({"a": x}, [3])[:, :1]), 0.0

        x = variable([[1.0, 2.0, 3.0, 4.0]])
        _, _, (gradient,) = backend.value_and_gradients(loss, [x])
        self.assertTrue(np.isfinite(to_numpy(gradient)).all())

    def test_a_long_until_is_refused(self):
        margin = Robustness(parse("(a >= 0) until (b >= 0)"), smooth="lse")
        signals = {name: np.ones((1, 600), "float32") for name in "ab"}
        with self.assertRaisesRegex(UserError, "fewer than 256"):
            margin.value(signals)


def as_rtamt(formula, inclusive=False):
    """Every `until` of one kind; rtamt's needs its left side up to then."""
    if isinstance(formula, stl.Predicate):
        return formula
    children = [as_rtamt(child, inclusive) for child in formula.children]
    match formula:
        case stl.And() | stl.Or():
            return type(formula)(tuple(children))
        case stl.Until():
            times = formula.start, formula.stop, inclusive
            return stl.Until(*children, *times)
        case stl.Always() | stl.Eventually():
            return type(formula)(*children, formula.start, formula.stop)
    return type(formula)(*children)


def variable(values):
    import keras

    return keras.Variable(np.array(values, "float32"))


def backend_sum(x):
    from keras import ops

    return ops.sum(x)
