import itertools

import numpy as np

from tests.test_case import TestCase
from tfshrink.analysis.bit_budgets import best_within
from tfshrink.analysis.bit_budgets import mixed_plans
from tfshrink.analysis.layer_sensitivity import block_widths
from tfshrink.analysis.layer_sensitivity import most_sensitive
from tfshrink.evaluation.candidate import model_candidates
from tfshrink.evaluation.size import model_bytes
from tfshrink.layer_groups import group_names
from tfshrink.search.sensitivity import Sensitivity

NAMES = tuple(group_names(2))
WIDTHS = (8, 4)


def candidate(plans="8;4"):
    (one,) = model_candidates("tiny", plans, group=32)
    return one


def sensitivity(seed=0):
    """Random damage: more at fewer bits."""
    draws = np.random.default_rng(seed).uniform(0.1, 1.0, len(NAMES))
    rows = [
        {
            "group": name,
            "bits": bits,
            "pruning": 0.0,
            "kl": float(draw) / bits**2,
        }
        for name, draw in zip(NAMES, draws, strict=True)
        for bits in WIDTHS
    ]
    return Sensitivity(rows, NAMES, {}, {})


class MixedPlansTest(TestCase):
    def test_no_other_plan_of_its_size_does_less_damage(self):
        one, own = candidate(), sensitivity()
        table, _ = own.table()
        config = one.source.config

        def damage(bits):
            columns = [WIDTHS.index(b) for b in bits[:-1]]
            return table[np.arange(len(columns)), columns].sum()

        plans = mixed_plans(one, own, count=5)
        self.assertGreater(len(plans), 2)
        every = []
        for bits in itertools.product(WIDTHS, repeat=len(NAMES) - 1):
            bits = (*bits, 8)  # no plan gives the embedding anything else
            other = type(plans[0])(bits=bits, layers=2, group=32)
            every.append((model_bytes(config, other), damage(bits)))
        for plan in plans:
            self.assertEqual(plan.bits[-1], 8)
            size = model_bytes(config, plan)
            least = min(cost for other, cost in every if other <= size)
            self.assertAllClose(damage(plan.bits), least)

    def test_names_tell_sizes_and_largest_comes_first(self):
        plans = mixed_plans(candidate(), sensitivity())
        self.assertEqual(set(plans[0].bits), {8})
        self.assertEqual(set(plans[-1].bits[:-1]), {4})
        self.assertRegex(plans[1].name, r"mixed-0\.\d{3}MB")

    def test_one_width_leaves_nothing_to_choose(self):
        self.assertEqual(mixed_plans(candidate("8"), sensitivity()), [])
        self.assertEqual(block_widths(candidate("8;16")), (8,))
        self.assertEqual(block_widths(candidate()), (8, 4))


class BestWithinTest(TestCase):
    def test_by_hand(self):
        rows = [
            {"name": "8", "bytes": 50, "perplexity": 10.0},
            {"name": "4", "bytes": 30, "perplexity": 11.0},
            {"name": "2", "bytes": 32, "perplexity": 20.0},
            {"name": "worse", "bytes": 45, "perplexity": 12.0},
        ]
        found = best_within(rows, count=3)
        self.assertEqual(
            [(row["budget_bytes"], row["name"]) for row in found],
            [(50, "8"), (40, "4"), (30, "4")],
        )


class MostSensitiveTest(TestCase):
    def test_shares_are_of_what_plans_may_do(self):
        rows = [
            {"group": name, "bits": 4, "pruning": 0.0, "kl": kl}
            for name, kl in (
                ("block_00/mlp_in", 3.0),
                ("block_01/mlp_in", 1.0),
                ("embedding", 96.0),
            )
        ]
        own = Sensitivity(rows, NAMES, {}, {})
        (found,) = most_sensitive(own, candidate().plans)
        self.assertEqual(found["bits"], 4)
        self.assertEqual(
            [(x["name"], x["share"]) for x in found["groups"]],
            [("block_00/mlp_in", 0.75), ("block_01/mlp_in", 0.25)],
        )
        # A plan with the embedding at 4 bits would do that damage, too.
        (found,) = most_sensitive(own, candidate("4:embedding=4").plans)
        self.assertEqual(found["groups"][0]["share"], 0.96)
