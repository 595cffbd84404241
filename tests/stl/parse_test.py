import numpy as np
from absl.testing import parameterized

from tests.stl.random_formulas import random_formula
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.stl import formula as stl
from tfshrink.stl.parse import parse

A, B, C = (stl.Predicate(name, ">=", 1.0) for name in "abc")


class ParseTest(TestCase):
    @parameterized.parameters(
        ("a >= 1", A),
        ("a > 1.0", A),
        ("1 <= a", A),
        ("always[0:3](a >= 1)", stl.Always(A, 0, 3)),
        ("G[0,3] a >= 1", stl.Always(A, 0, 3)),
        ("always[2:inf] a >= 1", stl.Always(A, 2)),
        ("eventually(a >= 1)", stl.Eventually(A)),
        ("F a >= 1", stl.Eventually(A)),
        ("not(a >= 1)", stl.Not(A)),
        ("!a >= 1", stl.Not(A)),
        ("(a >= 1) until[1:4] (b >= 1)", stl.Until(A, B, 1, 4)),
        ("a >= 1 U b >= 1", stl.Until(A, B)),
        ("a >= 1 and b >= 1 and c >= 1", stl.And((A, B, C))),
        ("a >= 1 & b >= 1 | c >= 1", stl.Or((stl.And((A, B)), C))),
        (
            "a >= 1 -> b >= 1 implies c >= 1",
            stl.Implies(A, stl.Implies(B, C)),
        ),
        # Names may begin like keywords.
        ("always_on >= -.5", stl.Predicate("always_on", ">=", -0.5)),
        ("Fa <= 2e-1", stl.Predicate("Fa", "<=", 0.2)),
    )
    def test_text_becomes_a_formula(self, text, wanted):
        self.assertEqual(parse(text), wanted)

    def test_formulas_survive_their_text(self):
        random = np.random.default_rng(0)
        for _ in range(300):
            formula = random_formula(random, 4)
            # Text does not say which kind of until it is.
            again = parse(str(formula))
            self.assertEqual(str(again), str(formula))
            self.assertEqual(again.horizon, formula.horizon)

    @parameterized.parameters(
        ("always[0:31](jsd << 0.15)", 18),
        ("a >= ", 5),
        ("a >= 1 and", 10),
        ("(a >= 1", 7),
        ("a >= 1)", 6),
        ("a + b >= 1", 2),
        ("", 0),
    )
    def test_a_caret_marks_what_cannot_be_read(self, text, place):
        with self.assertRaises(UserError) as caught:
            parse(text)
        lines = str(caught.exception).splitlines()
        self.assertEqual(lines[1], f"  {text}")
        self.assertEqual(lines[2], " " * (place + 2) + "^")

    @parameterized.parameters(
        ("always[5:2](a >= 1)", "must not end before it begins"),
        ("always[0:1.5](a >= 1)", "whole numbers of samples"),
        ("always[-1:2](a >= 1)", "whole numbers of samples"),
        ("always[inf:2](a >= 1)", "must not end before it begins"),
    )
    def test_a_wrong_interval_is_named(self, text, message):
        with self.assertRaisesRegex(UserError, message):
            parse(text)
