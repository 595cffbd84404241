"""Compresses step by step, the least sensitive first."""


def greedy(problem):
    """Takes every step, in the order of what it costs, that the budget allows.

    From the least compressed plan on, each step takes one variable one level
    down; steps that cost the least for what they save come first. A step that
    breaks the budget is taken back, and its variable stays where it is.

    Args:
        problem: `Problem`.

    Returns:
        The last point that holds, or `None`.
    """
    point = problem.space.start
    if not problem.holds(problem.whole):
        return None
    frozen = set()
    for place in ordered_steps(problem):
        if place in frozen:
            continue
        next_point = problem.space.moved(point, place)
        record = problem.try_point(next_point)
        if record is None:
            break
        if problem.holds(record):
            point = next_point
            problem.evaluator.adopt()
        else:
            frozen.add(place)
    return point


def ordered_steps(problem):
    """Variables by what a step of theirs costs for what it saves.

    A variable comes once for each step it can take.
    """
    steps = []
    damage = problem.space.damage(problem.sensitivity)
    for place, (variable, own) in enumerate(
        zip(problem.space.variables, damage, strict=True)
    ):
        saved = savings(problem, place)
        worst = 0.0
        for level in range(1, len(variable.options)):
            cost = (own[level] - own[level - 1]) / max(saved[level - 1], 1e-12)
            # A variable takes its steps in order.
            worst = max(worst, cost)
            steps.append((worst, place, level))
    return [place for _, place, _ in sorted(steps)]


def savings(problem, place):
    """What each step of a variable saves of the cost that is to be small."""
    space, evaluator = problem.space, problem.evaluator
    name = cost_name(problem.settings)
    costs = []
    for level in range(len(space.variables[place].options)):
        point = space.moved(space.start, place, level)
        costs.append(evaluator.cost(problem.plan(point))[name])
    return [max(a - b, 0.0) for a, b in zip(costs, costs[1:], strict=False)]


def cost_name(settings):
    """The first objective that is a cost; bytes where there is none."""
    from tfshrink.search.evaluator import COSTS

    names = [name for name in settings.objective_names if name in COSTS]
    return names[0] if names else "bytes"
