import numpy as np
from absl.testing import parameterized

from tests.search import stubs
from tests.test_case import TestCase
from tfshrink.search.greedy import greedy
from tfshrink.search.greedy import ordered_steps
from tfshrink.search.pareto import first_points
from tfshrink.search.pareto import pareto
from tfshrink.search.progressive import progressive

METHODS = {"greedy": greedy, "progressive": progressive}


class MethodsTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path

    @parameterized.parameters("greedy", "progressive")
    def test_result_holds_and_no_single_step_more_does(self, method):
        problem = stubs.problem(self.folder, method=method, iterations=60)
        point = METHODS[method](problem)
        self.assertTrue(problem.holds(problem.record(point)))
        self.assertLess(sum(problem.plan(point).bits), 8 * 9)
        for place in range(len(problem.space)):
            more = problem.space.moved(point, place) or point
            # Greedy never looks behind a step that failed: one level suffices.
            self.assertTrue(
                more == point or not problem.holds(problem.record(more))
            )

    def test_greedy_takes_the_least_harm_for_the_bytes_first(self):
        problem = stubs.problem(self.folder, iterations=300)
        steps = ordered_steps(problem)
        self.assertLen(steps, 8 * 2 + 1)
        for place in range(8):
            levels = [level for own, level in steps if own == place]
            self.assertEqual(levels, [1, 2])

    def test_greedy_from_a_point_goes_on_from_there(self):
        problem = stubs.problem(self.folder, iterations=300)
        first = (1, 1, 0, 0, 0, 0, 0, 0, 0)
        point = greedy(problem, first, limit=3)
        self.assertLen(problem.ledger.records(), 3)
        self.assertTrue(all(a >= b for a, b in zip(point, first, strict=True)))

    @parameterized.parameters("greedy", "progressive")
    def test_iterations_are_a_limit(self, method):
        problem = stubs.problem(self.folder, method=method, iterations=5)
        METHODS[method](problem)
        self.assertLen(problem.ledger.records(), 5)
        self.assertEqual(problem.evaluator.count, 5)

    @parameterized.parameters("greedy", "progressive")
    def test_a_resumed_search_judges_nothing_twice(self, method):
        problem = stubs.problem(self.folder, method=method, iterations=6)
        METHODS[method](problem)
        before = [one["hash"] for one in problem.ledger.records()]
        other = stubs.again(problem, self.folder, iterations=14)
        METHODS[method](other)
        after = [one["hash"] for one in other.ledger.records()]
        self.assertEqual(after[:6], before)
        self.assertLen(set(after), 14)
        self.assertEqual(other.evaluator.count, 8)

    def test_nothing_holds(self):
        problem = stubs.problem(self.folder, budget=11.0)
        self.assertIsNone(greedy(problem))
        self.assertIsNone(progressive(problem))

    def test_budget_of_perplexity_is_a_share(self):
        problem = stubs.problem(
            self.folder, metric="perplexity", budget=0.25, iterations=300
        )
        found = problem.record(greedy(problem))
        # The next step of least harm would come to 13.
        self.assertEqual(found["perplexity"], 11.0)

    def test_pareto_begins_with_the_knapsack(self):
        problem = stubs.problem(self.folder, iterations=30)
        points = first_points(problem)
        self.assertEqual(points[0], problem.space.start)
        self.assertEqual(points[1], (2,) * 8 + (1,))
        pareto(problem)
        found = [tuple(r["point"]) for r in problem.ledger.records()]
        self.assertEqual(found[: len(points)], points)

    @parameterized.parameters("nsga2", "tpe")
    def test_pareto_judges_what_was_asked_and_finds_the_best(self, sampler):
        problem = stubs.problem(self.folder, iterations=60, sampler=sampler)
        pareto(problem)
        records = problem.ledger.records()
        self.assertLen(records, 60)
        held = [r["bytes"] for r in records if r["satisfied"]]
        self.assertNotEmpty(held)
        # Groups 1 to 4 at 4 bits use all ten: 72 - 4 x 4 is the least.
        self.assertGreaterEqual(min(held), 56.0)
        self.assertTrue(np.all([r["violation"] >= 0 for r in records]))

    def test_pareto_finds_the_optimum_of_additive_harms(self):
        problem = stubs.problem(self.folder, iterations=60)
        pareto(problem)
        held = [r["bytes"] for r in problem.ledger.records() if r["satisfied"]]
        self.assertEqual(min(held), 56.0)

    def test_pareto_resumes_where_it_was(self):
        problem = stubs.problem(self.folder, iterations=20)
        pareto(problem)
        before = problem.ledger.records()
        other = stubs.again(problem, self.folder, iterations=32)
        pareto(other)
        after = other.ledger.records()
        self.assertLen(after, 32)
        self.assertEqual(after[:20], before)
