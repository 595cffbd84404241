import itertools

import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.search.knapsack import Knapsack


def brute_force(damage, price, budget):
    """Least damage of all choices within a budget, or `None`."""
    found = [
        sum(own[i] for own, i in zip(damage, choice, strict=True))
        for choice in itertools.product(*(range(len(d)) for d in damage))
        if sum(own[i] for own, i in zip(price, choice, strict=True)) <= budget
    ]
    return min(found, default=None)


class KnapsackTest(TestCase):
    @parameterized.parameters(*range(6))
    def test_choice_matches_brute_force(self, seed):
        random = np.random.default_rng(seed)
        sizes = random.integers(1, 4, 6)
        damage = [random.random(n) for n in sizes]
        price = [random.integers(0, 50, n).astype(float) for n in sizes]
        low = sum(own.min() for own in price)
        high = sum(own.max() for own in price)
        # Prices are whole numbers here, and so are bins.
        own = Knapsack(damage, price, bins=max(1, int(high - low)))
        for budget in (low, (low + high) // 2, 0.8 * high + 0.2 * low, high):
            chosen = own.choose(budget)
            cost = sum(p[i] for p, i in zip(price, chosen, strict=True))
            harm = sum(d[i] for d, i in zip(damage, chosen, strict=True))
            self.assertLessEqual(cost, budget + 1e-6)
            self.assertAllClose(harm, brute_force(damage, price, int(budget)))

    def test_nothing_fits_below_the_cheapest(self):
        own = Knapsack([[0.0, 1.0]], [[5.0, 3.0]])
        self.assertIsNone(own.choose(2.9))
        self.assertEqual(own.choose(3.0), [1])

    def test_spread_goes_from_the_dearest_to_the_cheapest(self):
        damage = [[0.0, 1.0], [0.0, 2.0], [0.0, 4.0]]
        price = [[1.0, 0.0]] * 3
        found = Knapsack(damage, price).spread(4)
        self.assertEqual(found, [(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)])
