import numpy as np

from tests.test_case import TestCase
from tfshrink.search.front import cheapest_if_relaxed
from tfshrink.search.front import front
from tfshrink.search.front import hypervolume
from tfshrink.search.front import is_dominated
from tfshrink.stl.requirement import Requirement


def row(size, margin):
    return {
        "bytes": size,
        "margin": margin,
        "satisfied": margin >= 0,
        "violation": max(0.0, -margin),
        "worst": {"jsd": margin},
        "hash": f"{size}",
    }


class FrontTest(TestCase):
    def test_dominated_rows_match_brute_force(self):
        random = np.random.default_rng(0)
        values = random.integers(0, 5, (40, 3))
        wanted = [
            any(
                all(b <= a for a, b in zip(own, other, strict=True))
                and any(b < a for a, b in zip(own, other, strict=True))
                for other in values
            )
            for own in values
        ]
        self.assertAllEqual(is_dominated(values), wanted)

    def test_front_of_satisfied_plans(self):
        rows = [row(5, 0.1), row(4, 0.2), row(3, 0.0), row(2, -0.1)]
        chosen, feasible = front(rows, ["bytes", "margin"])
        self.assertTrue(feasible)
        self.assertEqual([one["bytes"] for one in chosen], [3, 4])

    def test_least_violating_where_nothing_holds(self):
        rows = [row(5, -0.1), row(4, -0.2), row(4.5, -0.3), row(3, -0.3)]
        chosen, feasible = front(rows, ["bytes", "margin"])
        self.assertFalse(feasible)
        self.assertEqual([one["bytes"] for one in chosen], [3, 4, 5])

    def test_plans_alike_stand_once(self):
        chosen, _ = front([row(3, 0.1), row(3, 0.1)], ["bytes", "margin"])
        self.assertLen(chosen, 1)
        self.assertEqual(front([], ["bytes"]), ([], False))

    def test_hypervolume_by_hand(self):
        points = [(1.0, 3.0), (2.0, 1.0), (2.5, 2.0), (5.0, 0.0)]
        # (4 - 1) x (4 - 3) + (4 - 2) x (3 - 1); the last lies outside.
        self.assertAllClose(hypervolume(points, (4.0, 4.0)), 7.0)
        self.assertEqual(hypervolume([], (1.0, 1.0)), 0.0)

    def test_hypervolume_matches_sampling(self):
        random = np.random.default_rng(1)
        points = random.random((12, 2))
        samples = random.random((200_000, 2))
        inside = np.zeros(len(samples), bool)
        for point in points:
            inside |= np.all(samples >= point, axis=1)
        self.assertAllClose(
            hypervolume(points, (1.0, 1.0)), inside.mean(), atol=5e-3
        )

    def test_relaxing_moves_the_cheapest(self):
        rows = [row(5, 0.01), row(4, -0.01), row(3, -0.02)]
        requirement = Requirement("always(jsd <= 0.1)")
        found = cheapest_if_relaxed(rows, requirement, (0.0, 0.1, 0.2))
        self.assertEqual([one["bytes"] for one in found], [5, 4, 3])
        other = Requirement("eventually(jsd <= 0.1)")
        self.assertEqual(cheapest_if_relaxed(rows, other, (0.0,)), [])
