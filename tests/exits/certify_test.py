import dataclasses
import math

import numpy as np
from absl.testing import parameterized

from tests.exits import traces
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.exit_spec import ExitSpec
from tfshrink.exits.certify import learn_then_test
from tfshrink.exits.certify import p_value
from tfshrink.exits.choice import summary

BOLD = ExitSpec.parse("classifier:.3:missing=propagate")


class ValueTest(TestCase):
    def test_against_values_worked_out_by_hand(self):
        # (1 - δ)^n is the Hoeffding term where nothing went wrong.
        self.assertAllClose(p_value(0.0, 60, 0.05), 0.95**60, rtol=1e-12)
        # Bentkus: e times the chance of 15 wrong or fewer among 300.
        tail = sum(
            math.comb(300, k) * 0.1**k * 0.9 ** (300 - k) for k in range(16)
        )
        self.assertAllClose(p_value(0.05, 300, 0.1), math.e * tail, rtol=1e-9)
        self.assertEqual(p_value(0.2, 300, 0.1), 1.0)

    def test_more_prompts_prove_more(self):
        values = [p_value(0.04, n, 0.1) for n in (50, 100, 300, 1000)]
        self.assertEqual(values, sorted(values, reverse=True))

    def test_chance_of_a_false_proof_is_below_the_level(self):
        rng = np.random.default_rng(0)
        losses = rng.binomial(16, 0.1, (4000, 100)) / 16  # true risk .1
        values = [p_value(risk, 100, 0.1) for risk in losses.mean(axis=1)]
        self.assertLess(np.mean(np.array(values) <= 0.05), 0.05)


class LearnTest(TestCase):
    def test_a_light_head_that_breaks_the_promise_alone_is_named(self):
        trace = traces.made_up(rows=200)
        wrong = np.ones_like(trace.light_token)
        trace = dataclasses.replace(trace, light_token=wrong)
        spec = ExitSpec.parse("classifier:.3:head=light")
        with self.assertRaisesRegex(UserError, "head=light alone"):
            learn_then_test(trace, spec, risk=0.1)

    def test_promises_hold_on_prompts_not_seen(self):
        broken = 0
        for seed in range(20):
            trace = traces.made_up(rows=120, seed=seed)
            found = learn_then_test(trace, BOLD, risk=0.1)
            self.assertLessEqual(found["p_value"], 0.05)
            self.assertLess(found["measured"], 0.1)
            self.assertGreater(found["steps"], 0)
            other = traces.made_up(rows=2000, seed=100 + seed)
            policy = ExitSpec.from_json(found["exit"])
            again = learn_then_test_loss(other, policy)
            broken += again > 0.1
        self.assertLessEqual(broken, 2)

    def test_the_next_threshold_would_not_be_proved(self):
        trace = traces.made_up(rows=120)
        fine = learn_then_test(trace, BOLD, risk=0.1, steps=50)
        self.assertLess(fine["steps"], 50)
        limit = 1 + (fine["steps"] + 1) / 50 * (0.3 - 1)
        policy = ExitSpec.parse(f"classifier:{limit}:missing=propagate")
        value = p_value(learn_then_test_loss(trace, policy), 120, 0.1)
        self.assertGreater(value, 0.05)

    def test_a_policy_that_is_never_wrong_comes_out_whole(self):
        trace = traces.made_up(rows=120)
        full = ExitSpec.parse("classifier:1,1,.999")
        found = learn_then_test(trace, full, risk=0.1)
        self.assertEqual(found["steps"], 100)
        self.assertEqual(found["policy"], "classifier:0.999:layers=9")

    @parameterized.parameters(
        ("classifier:.3:layers=6,9", "layers=6,9"),
        ("classifier:.3,1,.4", "layers=3,9"),
        ("classifier:1", "classifier:1:layers=9"),
        ("cosine:1,.3,1", "layers=3,6,9"),
    )
    def test_no_exit_is_asked_in_vain(self, text, wanted):
        trace = traces.made_up(rows=120)
        found = learn_then_test(trace, ExitSpec.parse(text), risk=0.2)
        self.assertGreater(found["steps"], 0)
        self.assertIn(wanted, found["policy"])
        policy = ExitSpec.from_json(found["exit"])
        every = dataclasses.replace(
            policy,
            layers=trace.layers,
            thresholds=policy.thresholds_of(trace.layers),
        )
        own, whole = (
            summary(trace, spec, traces.COST) for spec in (policy, every)
        )
        self.assertEqual(own["by_layer"], whole["by_layer"])
        fewer = len(policy.layers) < len(trace.layers)
        self.assertEqual(own["weights_read"] < whole["weights_read"], fewer)

    @parameterized.parameters((0.05, 58, "at least 59"), (0.1, 28, "least 29"))
    def test_too_few_prompts_prove_nothing(self, risk, rows, text):
        with self.assertRaisesRegex(UserError, text):
            learn_then_test(traces.made_up(rows=rows), BOLD, risk=risk)

    @parameterized.parameters({"risk": 0.0}, {"risk": 1.0}, {"level": 0.0})
    def test_impossible_promises_are_refused(self, **options):
        with self.assertRaisesRegex(UserError, "inside 0..1"):
            learn_then_test(traces.made_up(), BOLD, **{"risk": 0.1, **options})


def learn_then_test_loss(trace, policy):
    """Mean share of wrong tokens, counted once more."""
    sure = trace.confidence["classifier"]
    limits = np.array(policy.thresholds_of(trace.layers))
    wrong = []
    for row in range(len(trace)):
        own = 0
        for column in range(trace.made.shape[1]):
            left = np.flatnonzero(sure[:, row, column] > limits)
            if len(left):
                own += not trace.right[left[0], row, column]
        wrong.append(own / trace.made.shape[1])
    return float(np.mean(wrong))
