from absl.testing import parameterized

from tests.search import stubs
from tests.test_case import TestCase
from tfshrink.search.greedy import greedy
from tfshrink.search.problem import Problem
from tfshrink.search.progressive import progressive
from tfshrink.search.settings import SearchSettings
from tfshrink.search.space import SearchSpace

ONE_DOWN = (1, *(0,) * 8)  # the first group at 4 bits: a harm of 1
METHODS = {"greedy": greedy, "progressive": progressive}


def scored(folder, *scores, **values):
    """A problem whose records hold further scores."""
    settings = SearchSettings(**{"bits": "8,4,3", "seeds": 4, **values})
    space = SearchSpace(stubs.CONFIG, (8, 4, 3), (8, 4))
    own = Problem(stubs.StubEvaluator(), space, settings, scores=scores)
    own.join(stubs.ledger(folder, settings))
    return own


def harm(plan):
    """Of a plan, as `StubEvaluator` has it."""
    return sum((i + 1) * stubs.HARM[b] for i, b in enumerate(plan.bits))


def answers(plan):
    """F1 that falls with the harm, from 80 points on."""
    return {"f1": 80.0 - harm(plan)}


class ProblemTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path

    def test_a_plan_is_judged_and_kept_once(self):
        own, seen = stubs.problem(self.folder), []
        own.progress = seen.append
        first = own.try_point(ONE_DOWN)
        self.assertIs(own.try_point(ONE_DOWN), first)
        self.assertEqual(own.evaluator.count, 1)
        self.assertEqual(own.ledger.records(), [first])
        self.assertEqual((own.judged, seen), (1, [1]))

    def test_a_record_says_what_was_found(self):
        found = stubs.problem(self.folder).record(ONE_DOWN)
        self.assertEqual(found["point"], list(ONE_DOWN))
        self.assertEqual(found["bytes"], 8 * 9 - 4.0)
        self.assertEqual(found["margin"], stubs.ALLOWED - 1.0)
        self.assertEqual(found["worst"], {"jsd": stubs.ALLOWED - 1.0})
        self.assertEqual(found["violation"], 0.0)
        self.assertTrue(found["satisfied"])

    def test_a_record_that_violates_says_by_how_much(self):
        own = stubs.problem(self.folder)
        found = own.record((0,) * 7 + (2, 0))  # 5 x 8 of the allowed 10
        self.assertEqual(found["violation"], 30.0)
        self.assertEqual(found["satisfied_share"], 0.5)
        self.assertFalse(found["satisfied"])

    def test_nothing_is_judged_beyond_the_iterations(self):
        own = stubs.problem(self.folder, iterations=1)
        own.try_point(own.space.start)
        self.assertIsNone(own.try_point(ONE_DOWN))
        self.assertIsNotNone(own.try_point(own.space.start))
        self.assertEqual((own.left, own.evaluator.count), (0, 1))

    def test_what_another_found_is_known(self):
        own = stubs.problem(self.folder)
        other = stubs.again(own, self.folder)
        own.try_point(ONE_DOWN)
        self.assertFalse(other.knows(ONE_DOWN))
        other.refresh()
        self.assertTrue(other.knows(ONE_DOWN))
        self.assertEqual(other.judged, 1)
        other.try_point(ONE_DOWN)
        self.assertEqual(other.evaluator.count, 0)

    def test_objectives_are_made_small(self):
        own = stubs.problem(
            self.folder, objectives="scaled_flops,margin,perplexity"
        )
        found = own.values(own.record(ONE_DOWN))
        self.assertEqual(found, [68.0, -9.0, 11.0])

    def test_scores_are_entries_of_a_record(self):
        own = scored(self.folder, answers, lambda plan: {"latency": 0.5})
        found = own.record(ONE_DOWN)
        self.assertEqual((found["f1"], found["latency"]), (79.0, 0.5))

    @parameterized.parameters(
        ("stl", 9.0, True),
        ("stl", 9.5, False),
        ("perplexity", 0.1, True),  # 11 of 10
        ("perplexity", 0.05, False),
        ("f1", 1.0, True),
        ("f1", 0.5, False),
    )
    def test_budget_is_of_the_metric(self, metric, budget, wanted):
        own = scored(self.folder, answers, metric=metric, budget=budget)
        self.assertEqual(own.holds(own.record(ONE_DOWN)), wanted)

    @parameterized.product(
        method=("greedy", "progressive"),
        metric=({"metric": "perplexity", "budget": 1.0}, {"metric": "f1"}),
    )
    def test_metrics_that_fall_alike_lead_to_the_same(self, method, metric):
        metric = {"budget": stubs.ALLOWED, **metric}
        folders = [f"{self.folder}/{name}" for name in ("stl", "other")]
        points = [
            METHODS[method](scored(folder, answers, iterations=300, **own))
            for folder, own in zip(folders, ({}, metric), strict=True)
        ]
        self.assertEqual(points[0], points[1])
        self.assertGreater(sum(points[0]), 0)

    def test_adopted_is_each_step_that_holds(self):
        own = stubs.problem(self.folder, iterations=300)
        point = greedy(own)
        self.assertEqual(own.evaluator.adopted, sum(point))
