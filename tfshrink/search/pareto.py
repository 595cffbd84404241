"""Searches for the front with Optuna, from the solutions of a knapsack."""

import numpy as np

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
    """Proposes plans until as many were judged as were asked for.

    Every property is one constraint; where nothing is feasible the samplers
    prefer what violates least.

    Args:
        problem: `Problem`.

    Returns:
        `None`: the front is what the ledger holds.
    """
    variables = problem.space.variables

    def objective(trial):
        point = tuple(
            trial.suggest_int(one.name, 0, len(one.options) - 1)
            if len(one.options) > 1
            else 0
            for one in variables
        )
        record = problem.record(point)
        problem.progress(trial.number + 1)
        constraints = {name: -own for name, own in record["worst"].items()}
        return record, problem.values(record), constraints

    shared = problem.shared
    problem.ledger.optimize(
        lambda trials: sampler(problem.settings, trials, shared=shared),
        objective,
        problem.settings.iterations,
        seeds=[
            {
                one.name: int(level)
                for one, level in zip(variables, point, strict=True)
                if len(one.options) > 1
            }
            for point in first_points(problem)
        ],
    )


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
    return [*points[:1], *points[-1:], *points[1:-1]][: len(points)]
