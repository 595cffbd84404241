import numpy as np
from absl.testing import parameterized

from tests.stl import random_formulas
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.stl.explain import explain
from tfshrink.stl.parse import parse
from tfshrink.stl.robustness import Robustness


def rows(**signals):
    return {name: np.array([row], "float32") for name, row in signals.items()}


class ExplainTest(TestCase):
    def test_the_worst_token_is_named(self):
        margin = Robustness(parse("always(jsd <= 0.15) and always(top >= 0.5)"))
        signals = rows(jsd=[0.1, 0.2, 0.18], top=[0.9, 0.5, 0.8])
        (found,) = explain(margin, signals)
        self.assertEqual((found.signal, found.time), ("jsd", 1))
        self.assertAllClose(found.margin, -0.05)
        self.assertEqual(str(found), "violated, token 1 by jsd, margin -0.05")

    def test_what_holds_has_a_closest_token(self):
        margin = Robustness(parse("always(jsd <= 0.15)"))
        (found,) = explain(margin, rows(jsd=[0.1, 0.125, 0.0]))
        self.assertEqual(
            str(found), "satisfied, closest at token 1 by jsd, margin +0.025"
        )

    def test_padding_explains_nothing(self):
        margin = Robustness(parse("always(a >= 0)"))
        (found,) = explain(margin, rows(a=[3, 2, -9]), np.array([2]))
        self.assertEqual((found.time, found.margin), (1, 2.0))
        self.assertEqual(found.over_tokens, (3.0, 2.0))

    def test_margins_of_tokens_are_those_of_what_must_always_hold(self):
        signals = rows(a=[1, 4, 2])
        for text, wanted in (
            ("always(a >= 1)", (0.0, 3.0, 1.0)),
            ("eventually(a >= 1)", (3.0, 3.0, 1.0)),
        ):
            (found,) = explain(Robustness(parse(text)), signals)
            self.assertEqual(found.over_tokens, wanted, text)

    def test_an_empty_window_has_no_explanation(self):
        margin = Robustness(parse("always[5:6](a >= 0)"))
        self.assertEqual(explain(margin, rows(a=[1, 2])), [None])

    @parameterized.parameters(range(4))
    def test_the_value_is_that_of_the_predicate(self, seed):
        random = np.random.default_rng(seed)
        for _ in range(20):
            formula = random_formulas.random_formula(random, 3)
            signals = random_formulas.random_signals(random, 1, 9)
            margin = Robustness(formula)
            (found,) = explain(margin, signals)
            value = to_numpy(margin.value(signals))[0]
            if found is None:
                self.assertTrue(np.isinf(value), str(formula))
                continue
            predicate = parse(found.predicate)
            own = random_formulas.robustness(
                predicate, {k: v[0] for k, v in signals.items()}, found.time
            )
            self.assertEqual(abs(own), abs(value), str(formula))
