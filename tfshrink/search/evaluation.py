"""What is known of one plan: its cost, and what it leaves."""

import dataclasses

import numpy as np

from tfshrink.plan import Plan


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What is known of one plan.

    Args:
        plan: `Plan`.
        cost: Dict of `Evaluator.cost`.
        margins: Dict of property to margins `(N,)`, one a prompt.
        means: Means over all tokens, as `Judgement.means`.
    """

    plan: Plan
    cost: dict
    margins: dict
    means: dict

    @property
    def worst(self):
        """Dict of property to its smallest margin over the prompts.

        What is no number satisfies nothing: minus infinity.
        """
        return {
            name: float(np.nan_to_num(np.min(values), nan=-np.inf))
            for name, values in self.margins.items()
        }

    @property
    def margin(self):
        """The smallest margin of all; from 0 on the plan is satisfied."""
        return min(self.worst.values())

    @property
    def violation(self):
        """How much all properties together lack; 0 if satisfied."""
        return sum(max(0.0, -value) for value in self.worst.values())

    @property
    def satisfied_share(self):
        """Share of the prompts that satisfy every property."""
        least = np.min(list(self.margins.values()), axis=0)
        return float(np.mean(least >= 0))

    def value(self, objective):
        """A number to minimise: a cost, or how little is left."""
        if objective == "margin":
            return -self.margin
        if objective in self.means:
            return self.means[objective]
        return self.cost[objective]

    def row(self):
        """One flat dict for tables and files."""
        return {
            "plan": self.plan.name,
            "hash": self.plan.hash,
            **self.cost,
            "margin": self.margin,
            "satisfied": self.margin >= 0,
            "satisfied_share": self.satisfied_share,
            **{f"margin_{name}": own for name, own in self.worst.items()},
            "perplexity": self.means["perplexity"],
            "mean_jsd": self.means["jsd"],
        }
