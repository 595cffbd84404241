"""Which coefficients get how many bits."""

import numpy as np


def allocate(distortion, prices, budget):
    """Chooses a level for each item, the least distortion within a budget.

    Args:
        distortion: `(levels, items)`: what is left at each level; prices rise
            with the level.
        prices: Whole number of each level, the first one 0.
        budget: Sum of the prices, at most.

    Returns:
        Level of each item, an integer array. Exact, by dynamic programming.
    """
    levels, items = distortion.shape
    best = np.full(budget + 1, np.inf)
    best[0] = 0.0
    choice = np.zeros((items, budget + 1), "int64")
    for item in range(items):
        tried = np.full((levels, budget + 1), np.inf)
        for level in range(levels):
            price = prices[level]
            if price <= budget:
                own = best[: budget + 1 - price] + distortion[level, item]
                tried[level, price:] = own
        choice[item] = tried.argmin(axis=0)
        best = tried.min(axis=0)
    left = int(best.argmin())
    found = np.zeros(items, "int64")
    for item in reversed(range(items)):
        found[item] = choice[item, left]
        left -= prices[found[item]]
    return found
