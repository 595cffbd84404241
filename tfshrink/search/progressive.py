"""Compresses kind after kind of layer, with random moves and backtracking."""

from tfshrink.search.greedy import cost_name

RANDOM = 0.2  # share of the moves that go anywhere
SHAKEN = 8  # of so many lowered variables one is raised to get unstuck
IDLE = 20  # attempts in a row that lead nowhere new end the search


def progressive(problem):
    """Lowers bits, then prunes, component by component.

    A component is all layers of one kind (`attention_in` of all blocks, ...).
    Inside it, moves go from the least to the most sensitive layer; now and then
    one goes to any other. A move that breaks the budget is taken back; after
    several in a row some variable is raised again, which makes room for others.
    The best plan that ever held is kept.

    Args:
        problem: `Problem`.

    Returns:
        The best point that holds, or `None`.

    Reference: the progressive search of TOGGLE, arXiv:2512.16855.
    """
    if not problem.holds(problem.whole):
        return None
    state = _State(problem, problem.space.start)
    components = problem.space.components()
    for stage in ("bits", "pruning", "channels", "heads", "kv", "exit"):
        own = [places for key, places in components.items() if key[0] == stage]
        for places in own:
            state.compress(places)
    idle = 0  # times in a row that nothing new was judged
    while problem.left > 0 and idle < IDLE and state.shake():
        before = problem.judged
        for places in components.values():
            state.compress(places)
        idle = idle + 1 if problem.judged == before else 0
    return state.best


class _State:
    """Where a search is, and the best it has seen."""

    def __init__(self, problem, point):
        self.problem = problem
        self.point = point
        self.best = point
        self.damage = problem.space.damage(problem.sensitivity)

    def compress(self, places):
        """Moves the variables of a component down as far as they go."""
        open_places = set(places)
        while open_places and self.problem.left > 0:
            place = min(open_places, key=self._step_damage)
            if self.problem.random.random() < RANDOM:
                place = int(self.problem.random.choice(sorted(open_places)))
            if not self.move(place):
                open_places.discard(place)

    def _step_damage(self, place):
        own, level = self.damage[place], self.point[place]
        if level + 1 >= len(own):
            return float("inf")
        return own[level + 1] - own[level]

    def move(self, place):
        """One step down; `False` where it is the last or breaks the budget."""
        point = self.problem.space.moved(self.point, place)
        record = None if point is None else self.problem.try_point(point)
        if record is None or not self.problem.holds(record):
            return False
        self.point = point
        self.problem.evaluator.adopt()
        if self._cost(point) < self._cost(self.best):
            self.best = point
        return True

    def shake(self):
        """Goes back to the best point and raises some of its variables."""
        lowered = [place for place, level in enumerate(self.best) if level]
        if not lowered:
            return False
        count = min(len(lowered), 1 + len(lowered) // SHAKEN)
        chosen = self.problem.random.choice(lowered, count, replace=False)
        point = self.best
        for place in chosen:
            point = self.problem.space.moved(point, int(place), -1)
        record = self.problem.try_point(point)
        if record is not None and self.problem.holds(record):
            self.point = point
        return record is not None

    def _cost(self, point):
        return self.problem.record(point)[cost_name(self.problem.settings)]
