"""What the search methods share: points in, records out, each plan once."""

import numpy as np

from tfshrink.errors import UserError


class Problem:
    """Judges points of a space and keeps what it finds.

    Args:
        evaluator: `Evaluator`.
        space: `SearchSpace`.
        settings: `SearchSettings`.
        scores: Functions of a plan to further entries of its record (`f1`,
            `latency`).

    Attributes:
        sensitivity: `Sensitivity`, or `None`.
        progress: Called with the number of records.
        shared: Whether other processes work on the same ledger.
        judged: Records in the ledger; a plan that came twice counts twice.
        submit: Judges a new point and keeps what is found of it.
    """

    def __init__(self, evaluator, space, settings, *, scores=()):
        self.evaluator = evaluator
        self.space = space
        self.settings = settings
        self.scores = scores
        self.sensitivity = None
        self.progress = lambda done: None
        self.random = np.random.default_rng(settings.seed)
        self.shared = False
        self.judged = 0
        self.submit = self._add
        self.ledger = None
        self._known = {}

    def join(self, ledger):
        """Takes a `Ledger` for what is found, and what it holds already."""
        self.ledger = ledger
        self.refresh()

    def refresh(self):
        """Reads what the ledger holds by now, from others too."""
        records = self.ledger.records()
        self._known.update({r["hash"]: r for r in records})
        self.judged = len(records)

    def knows(self, point):
        """Whether a point was judged."""
        return self.plan(point).hash in self._known

    def plan(self, point, name="plan"):
        """The `Plan` of a point."""
        bits, fields = self.space.fields(point)
        return self.evaluator.plan(bits, name=name, **fields)

    def record(self, point):
        """What is found of a point, without keeping it."""
        plan = self.plan(point)
        if plan.hash in self._known:
            return self._known[plan.hash]
        found = self.evaluator(plan)
        record = {
            **found.row(),
            "violation": found.violation,
            "worst": found.worst,
            "point": list(point),
            "kl": found.means.get("kl"),
        }
        for score in self.scores:
            record.update(score(plan))
        self._known[plan.hash] = record
        return record

    def try_point(self, point):
        """What is found of a point; a new one goes into the ledger.

        Returns:
            The record; `None` once as many were judged as were asked for.
        """
        if not self.knows(point):
            self.refresh()  # another worker may have judged it
        if not self.knows(point):
            if self.left <= 0:
                return None
            self.submit(point)
        return self._known[self.plan(point).hash]

    def _add(self, point):
        """Judges a point and keeps what is found."""
        record = self.record(point)
        self.ledger.add(record, self.values(record))
        self.judged += 1
        self.progress(self.judged)

    @property
    def left(self):
        """How many more plans may be judged."""
        return self.settings.iterations - self.judged

    def values(self, record):
        """The objectives of a record, to be made small."""
        from tfshrink.search.front import value

        return [value(record, n) for n in self.settings.objective_names]

    def holds(self, record):
        """Whether a record is within the budget of the metric."""
        settings = self.settings
        if settings.metric == "stl":
            return record["margin"] >= settings.budget
        if settings.metric == "perplexity":
            most = self.whole["perplexity"] * (1.0 + settings.budget)
            return record["perplexity"] <= most
        return record["f1"] >= self.whole["f1"] - settings.budget

    @property
    def whole(self):
        """The record of the least compressed point."""
        return self.try_point(self.space.start)

    def check_start(self):
        """Raises a `UserError` where no plan was judged at all."""
        if self.whole is None:
            raise UserError(
                "`iterations` must leave room for the first plan. "
                f"Received: {self.settings.iterations}"
            )
