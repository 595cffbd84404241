import json

import numpy as np
from absl.testing import parameterized
from scipy import stats

from tests.test_case import TestCase
from tfshrink.stl.certificate import ALL
from tfshrink.stl.certificate import certificate
from tfshrink.stl.certificate import Verdict
from tfshrink.stl.certificate import violation_bound
from tfshrink.stl.certificate import WORST
from tfshrink.stl.explain import Explanation
from tfshrink.stl.requirement import Requirement

REQUIREMENT = Requirement("always(jsd <= 0.1) and always(factual >= 0.9)")
MARGINS = {
    "jsd": np.array([0.1, -0.2, 0.3, 0.0, 0.5, 0.2, 0.3, 0.4], "float32"),
    "factual": np.array([0.2, 0.1, -0.4, 0.3, 0.1, 0.1, 0.1, -0.1], "float32"),
}


def explained(margins):
    """An `Explanation` of each prompt, at the token of its number."""
    return {
        name: [
            Explanation(name, prompt, float(own), f"{name} <= 1", (own, 1 / 3))
            for prompt, own in enumerate(values)
        ]
        for name, values in margins.items()
    }


def verdict(name="plan", margins=MARGINS):
    own = Verdict(name, {"kind": "simulated plan", "plan_hash": name})
    own.add(margins, explained(margins))
    return own


class BoundTest(TestCase):
    @parameterized.product(
        count=(1, 7, 59, 300), confidence=(0.5, 0.9, 0.95, 0.9999)
    )
    def test_bound_matches_scipys_exact_interval(self, count, confidence):
        for violations in {0, 1, count // 3, count - 1, count}:
            # Half of what a two-sided interval leaves out lies above it.
            wanted = stats.binomtest(violations, count).proportion_ci(
                2 * confidence - 1 if confidence > 0.5 else 1e-12,
                method="exact",
            )
            self.assertAllClose(
                violation_bound(violations, count, confidence),
                wanted.high,
                rtol=1e-9,
            )

    @parameterized.parameters((0, 50), (1, 50), (17, 50), (49, 50), (3, 300))
    def test_bound_is_where_so_few_become_unlikely(self, violations, count):
        bound = violation_bound(violations, count, 0.95)
        self.assertAllClose(
            stats.binom.cdf(violations, count, bound), 0.05, rtol=1e-8
        )

    def test_bound_of_none_by_hand(self):
        # No violation of n at a rate p has the probability (1 - p)^n.
        self.assertAllClose(violation_bound(0, 59, 0.95), 1 - 0.05 ** (1 / 59))
        self.assertEqual(violation_bound(5, 5, 0.95), 1.0)

    @parameterized.parameters(0.01, 0.1, 0.5, 0.97)
    def test_bound_covers_the_rate_as_often_as_it_says(self, rate):
        counts = np.arange(61)
        bounds = np.array([violation_bound(k, 60, 0.9) for k in counts])
        share = stats.binom.pmf(counts, 60, rate)[bounds >= rate].sum()
        self.assertGreaterEqual(share, 0.9)


class VerdictTest(TestCase):
    def test_rates_are_counts(self):
        found = verdict().rates(tests=1)
        self.assertEqual(list(found), ["jsd", "factual", ALL])
        counts = {name: own["violations"] for name, own in found.items()}
        # A margin of 0 is satisfied; no prompt violates both.
        self.assertEqual(counts, {"jsd": 1, "factual": 2, ALL: 3})
        self.assertAllClose(found["factual"]["rate"], 2 / 8)
        self.assertAllClose(found["factual"]["worst_margin"], -0.4)
        self.assertAllClose(found["factual"]["median_margin"], 0.1)
        self.assertAllClose(found[ALL]["worst_margin"], -0.4)
        self.assertAllClose(found[ALL]["median_margin"], 0.05)

    def test_bounds_share_what_may_go_wrong(self):
        found = verdict().rates(tests=6, confidence=0.94)
        for own in found.values():
            self.assertAllClose(
                stats.binom.cdf(own["violations"], 8, own["bound"]),
                0.06 / 6,
                rtol=1e-8,
            )

    def test_parts_are_one_set_of_prompts(self):
        parts = Verdict("plan", {"kind": "simulated plan", "plan_hash": "plan"})
        for rows in (slice(0, 3), slice(3, None)):
            some = {name: own[rows] for name, own in MARGINS.items()}
            parts.add(some, {k: v[rows] for k, v in explained(MARGINS).items()})
        self.assertEqual(parts, verdict())

    def test_worst_are_the_smallest_margins_with_their_reason(self):
        found = verdict().worst()
        self.assertLen(found, WORST)
        order = [row["prompt"] for row in found]
        self.assertEqual(order[:4], [2, 1, 7, 3])
        self.assertEqual(
            [row["property"] for row in found[:4]],
            ["factual", "jsd", "factual", "jsd"],
        )
        margins = [row["margin"] for row in found]
        self.assertEqual(margins, sorted(margins))
        self.assertEqual(found[0]["token"], 2)
        over = found[0]["over_tokens"]
        self.assertAllClose(over["factual"], [-0.4, 0.33333], rtol=1e-12)
        self.assertAllClose(over["jsd"], [0.3, 0.33333], rtol=1e-12)
        self.assertEqual(
            found[0]["why"], "violated, token 2 by factual, margin -0.4"
        )

    def test_a_reason_may_be_missing(self):
        own = Verdict("plan", {})
        own.add({"jsd": [-1.0]}, {"jsd": [None]})
        (found,) = own.worst()
        self.assertIsNone(found["token"])
        self.assertIsNone(found["why"])

    def test_what_is_no_number_is_no_success(self):
        own = Verdict("broken", {})
        own.add({"jsd": [np.nan, 0.1]}, {"jsd": [None, None]})
        found = own.rates(tests=1)
        self.assertEqual(found["jsd"]["violations"], 1)
        self.assertEqual(found[ALL]["violations"], 1)
        self.assertEqual(own.worst()[0]["prompt"], 0)


class CertificateTest(TestCase):
    def setUp(self):
        super().setUp()
        self.found = certificate(
            [verdict("one"), verdict("two")],
            requirement=REQUIREMENT,
            prompts={"count": 8, "split": "test"},
            confidence=0.9,
            more={"model": {"name": "tiny"}},
        )

    def test_bounds_of_a_family_hold_together(self):
        self.assertEqual(self.found["tests"], 2 * 3)
        for plan in self.found["plans"]:
            for own in plan["properties"].values():
                wanted = stats.binomtest(own["violations"], 8).proportion_ci(
                    1 - 2 * 0.1 / 6, method="exact"
                )
                self.assertAllClose(own["bound"], wanted.high, rtol=1e-9)

    def test_it_says_what_was_judged(self):
        self.assertEqual(self.found["formula"], str(REQUIREMENT.formula))
        self.assertEqual(self.found["relax_thresholds"], 0.0)
        self.assertEqual(self.found["confidence"], 0.9)
        self.assertEqual(self.found["prompts"]["count"], 8)
        self.assertEqual(self.found["model"], {"name": "tiny"})
        self.assertIn("independently", self.found["assumes"])
        names = [plan["plan_hash"] for plan in self.found["plans"]]
        self.assertEqual(names, ["one", "two"])

    def test_it_is_json(self):
        text = json.dumps(self.found, allow_nan=False)
        self.assertEqual(json.loads(text)["plans"], self.found["plans"])
