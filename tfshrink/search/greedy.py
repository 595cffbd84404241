"""Compresses step by step, the least sensitive first."""


def greedy(problem, point=None, *, limit=None):
    """Takes every step, in the order of what it costs, that the budget allows.

    Each step takes one variable one level down; steps that cost the least for
    what they save come first. A step that breaks the budget is taken back, and
    its variable stays where it is.

    Args:
        problem: `Problem`.
        point: A point that holds, to begin with; `None` is the least compressed
            one.
        limit: Steps to try, at most; `None` tries all.

    Returns:
        The last point that holds, or `None`.
    """
    if point is None:
        point = problem.space.start
        if not problem.holds(problem.whole):
            return None
    frozen, tried = set(), 0
    for place, level in ordered_steps(problem):
        # Steps that the first point has taken, or that one before it has not.
        if place in frozen or point[place] != level - 1:
            continue
        if limit is not None and tried >= limit:
            break
        candidate = problem.space.moved(point, place)
        record = problem.try_point(candidate)
        if record is None:
            break
        tried += 1
        if problem.holds(record):
            point = candidate
            problem.evaluator.adopt()
        else:
            frozen.add(place)
    return point


def ordered_steps(problem):
    """Variables by what a step of theirs costs for what it saves.

    Returns:
        A list of `(place, level)`: the variable, and the level it comes to.
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
    return [(place, level) for _, place, level in sorted(steps)]


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
