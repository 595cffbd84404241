"""A search problem with known answers, for the tests of the methods."""

import dataclasses

from tfshrink.models.sources import open_source
from tfshrink.plan import Plan
from tfshrink.search.evaluation import Evaluation
from tfshrink.search.ledger import Ledger
from tfshrink.search.problem import Problem
from tfshrink.search.settings import SearchSettings
from tfshrink.search.space import SearchSpace

CONFIG = open_source("tiny").config
ALLOWED = 10.0  # sum of harms that the requirement leaves
HARM = {8: 0.0, 4: 1.0, 3: 5.0}  # of a group, times one more than its number


class StubEvaluator:
    """Harms that add up, instead of a model."""

    def __init__(self):
        self.config = CONFIG
        self.count = 0
        self.adopted = 0

    def plan(self, bits, **fields):
        return Plan(bits=tuple(bits), layers=2, group=32, **fields)

    def cost(self, plan):
        return {
            "bytes": float(sum(plan.bits)),
            "scaled_flops": float(sum(plan.bits)),
            "bit_operations": 0.0,
        }

    def adopt(self):
        self.adopted += 1

    def __call__(self, plan):
        self.count += 1
        harm = sum((i + 1) * HARM[b] for i, b in enumerate(plan.bits))
        return Evaluation(
            plan=plan,
            cost=self.cost(plan),
            margins={"jsd": [ALLOWED - harm, 50.0]},
            means={"jsd": harm, "perplexity": 10.0 + harm},
        )


def problem(folder, **values):
    """A problem with an empty ledger below a folder."""
    settings = SearchSettings(**{"bits": "8,4,3", "seeds": 4, **values})
    space = SearchSpace(CONFIG, (8, 4, 3), (8, 4))
    own = Problem(StubEvaluator(), space, settings)
    own.join(ledger(folder, settings))
    return own


def ledger(folder, settings, *, identity=None, resume=False):
    """The ledger of such a problem."""
    return Ledger(
        f"{folder}/study.db",
        "search",
        identity or {"of": "stub"},
        settings.objective_names,
        resume=resume,
    )


def again(own, folder, **changes):
    """The same problem, resumed."""
    settings = dataclasses.replace(own.settings, **changes)
    other = Problem(StubEvaluator(), own.space, settings)
    other.join(ledger(folder, settings, resume=True))
    return other
