from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.stl import formula as stl

A = stl.Predicate("a", ">=", 0.5)
B = stl.Predicate("b", "<=", 2.0)


class FormulaTest(TestCase):
    def test_operators_combine(self):
        self.assertEqual(A & B & A, stl.And((A, B, A)))
        self.assertEqual(A | B, stl.Or((A, B)))
        self.assertEqual(~A, stl.Not(A))

    def test_signals_and_parts_are_known(self):
        formula = stl.Implies(stl.Always(A, 0, 3), stl.Until(B, ~A, 1, 2))
        self.assertEqual(formula.signals(), ["a", "b"])
        parts = list(formula.subformulas())
        self.assertIs(parts[-1], formula)
        self.assertLen(parts, 7)

    @parameterized.parameters(
        (A, 0),
        (stl.Always(A, 2, 7), 7),
        (stl.Always(A), 0),
        (stl.Always(stl.Eventually(A, 0, 5), 1, 3), 8),
        (stl.And((stl.Always(A, 0, 4), stl.Eventually(B, 0, 9))), 9),
        (stl.Until(stl.Always(A, 0, 4), B, 0, 3), 7),
    )
    def test_horizon_is_how_far_windows_look(self, formula, wanted):
        self.assertEqual(formula.horizon, wanted)

    @parameterized.parameters(
        (lambda: stl.Predicate("a", "==", 1.0), "`comparison` must be"),
        (lambda: stl.Predicate("a", "<=", float("nan")), "`threshold` of a"),
        (lambda: stl.Predicate("a", "<=", "x"), "`threshold` of a"),
        (lambda: stl.Always(A, 3, 1), "must not end before it begins"),
        (lambda: stl.Always(A, -1, 1), "whole numbers of samples"),
        (lambda: stl.Until(A, B, 0, 1.5), "whole numbers of samples"),
        (lambda: stl.And(()), "must hold a formula"),
    )
    def test_a_mistake_is_named(self, make, message):
        with self.assertRaisesRegex(UserError, message):
            make()
