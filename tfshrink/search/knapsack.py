"""Plans that would be best if what single changes cost added up."""

import numpy as np

BINS = 16_384  # parts that the budget is counted in


class Knapsack:
    """Chooses one option of each variable: least damage within a budget.

    Solved for all budgets at once by dynamic programming. Prices are rounded to
    whole bins: a choice may exceed its budget by half a bin a variable.

    Args:
        damage: What each option costs in quality, a list of arrays.
        price: What it costs otherwise, from 0 on, arrays of the same lengths.
        bins: Parts of the largest budget.

    Example:
        >>> Knapsack([[0, 1], [0, 9]], [[5, 1], [5, 1]]).choose(6)
        [1, 0]
    """

    def __init__(self, damage, price, *, bins=BINS):
        self.low = sum(float(np.min(own)) for own in price)
        self.high = sum(float(np.max(own)) for own in price)
        self._bins = bins
        self._best = [int(np.argmin(own)) for own in damage]
        self._unit = max(self.high - self.low, 1e-30) / bins
        self._steps = [
            np.rint((np.asarray(own) - np.min(own)) / self._unit)
            for own in price
        ]
        best, self._choices = np.zeros(bins + 1), []
        for own, steps in zip(damage, self._steps, strict=True):
            found = np.full((len(own), bins + 1), np.inf)
            for option, (cost, step) in enumerate(
                zip(own, steps.astype(int), strict=True)
            ):
                found[option, step:] = best[: bins + 1 - step] + cost
            choice = np.argmin(found, axis=0)
            self._choices.append(choice)
            best = np.take_along_axis(found, choice[None], axis=0)[0]

    def choose(self, budget):
        """The number of the option of each variable, a list.

        Args:
            budget: Largest sum of prices.

        Returns:
            `None` where the cheapest options together exceed the budget.
        """
        if budget < self.low:
            return None
        if budget >= self.high:  # rounding must not keep anything out
            return self._best
        left = int((budget - self.low) / self._unit + 1e-9)
        left, found = min(left, self._bins), []
        for choice, steps in zip(
            reversed(self._choices), reversed(self._steps), strict=True
        ):
            option = int(choice[left])
            found.append(option)
            left -= int(steps[option])
        return found[::-1]

    def spread(self, count):
        """Distinct choices for `count` budgets, the largest first."""
        budgets = np.linspace(self.high, self.low, count)
        found = [tuple(self.choose(budget)) for budget in budgets]
        return list(dict.fromkeys(found))
