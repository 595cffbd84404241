"""Searches for the front with Optuna, from the solutions of a knapsack."""

import numpy as np

from tfshrink.search.greedy import cost_name
from tfshrink.search.greedy import greedy
from tfshrink.search.greedy import savings
from tfshrink.search.knapsack import Knapsack

POPULATION = 50


def sampler(settings, trials=0, *, shared=False):
    """The Optuna sampler of the settings.

    Args:
        settings: `SearchSettings`.
        trials: Trials there are: a search that goes on must not draw again what
            it drew.
        shared: Whether other processes draw for the same study.
    """
    from optuna import samplers

    name = settings.sampler
    seed = None if shared else settings.seed + trials
    if name == "nsga2":
        return samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
    if name == "tpe":
        return samplers.TPESampler(multivariate=True, seed=seed)
    if name == "gp":
        return samplers.GPSampler(seed=seed, deterministic_objective=True)
    return samplers.RandomSampler(seed=seed)


def pareto(problem):
    """Finds a front: knapsack first, then greedy steps, then the sampler.

    The solutions of the knapsack come first. From the cheapest of them that
    satisfies the requirement greedy steps lead down to where it breaks; what is
    left of the iterations the sampler proposes, which has seen all of that.
    Every property is one constraint; where nothing is feasible the samplers
    prefer what violates least.

    Args:
        problem: `Problem`.

    Returns:
        `None`: the front is what the ledger holds.
    """
    own = _Trials(problem)
    points = first_points(problem)
    problem.ledger.start(
        lambda trials: sampler(problem.settings, trials, shared=problem.shared),
        [own.parameters(point) for point in points],
        alone=not problem.shared,
    )
    while problem.left > 0 and not own.knows(points):
        own.run()
    held = [point for point in points if own.satisfied(point)]
    problem.submit = own.submit
    if held:
        cheapest = min(held, key=lambda point: own.cost(point))
        greedy(problem, cheapest, limit=problem.left // 2)
    while problem.left > 0:
        own.run()


class _Trials:
    """The points of a problem as trials of its ledger's study."""

    def __init__(self, problem):
        self.problem = problem
        self.variables = problem.space.variables
        self.name = cost_name(problem.settings)

    def parameters(self, point):
        """What a trial needs to be a point."""
        return {
            one.name: int(level)
            for one, level in zip(self.variables, point, strict=True)
            if len(one.options) > 1
        }

    def run(self, parameters=None):
        """Runs one trial; a plan that is known counts as one judged."""
        self.problem.ledger.run(self.objective, parameters)

    def submit(self, point):
        """Runs trials until a point is known: one that waits comes before."""
        while not self.problem.knows(point):
            self.run(self.parameters(point))

    def objective(self, trial):
        point = tuple(
            trial.suggest_int(one.name, 0, len(one.options) - 1)
            if len(one.options) > 1
            else 0
            for one in self.variables
        )
        record = self.problem.record(point)
        self.problem.judged += 1
        self.problem.progress(self.problem.judged)
        constraints = {name: -own for name, own in record["worst"].items()}
        return record, self.problem.values(record), constraints

    def knows(self, points):
        """Whether all points were judged, here or elsewhere."""
        self.problem.refresh()
        return all(self.problem.knows(point) for point in points)

    def satisfied(self, point):
        known = self.problem.knows(point)
        return known and self.problem.record(point)["satisfied"]

    def cost(self, point):
        return self.problem.record(point)[self.name]


def first_points(problem):
    """Points that are best if what each level costs added up.

    Returns:
        A list of points, the least and the most compressed first.
    """
    settings, space = problem.settings, problem.space
    if not settings.seeds or settings.sampler == "random":
        return []
    price = [
        np.cumsum([0.0, *savings(problem, place)])
        for place in range(len(space))
    ]
    knapsack = Knapsack(
        space.damage(problem.sensitivity), [own[-1] - own for own in price]
    )
    count = min(settings.seeds, max(2, settings.iterations // 2))
    points = knapsack.spread(count)
    # Both ends first: a search that is stopped early has seen them.
    return list(dict.fromkeys([space.start, points[-1], *points]))
