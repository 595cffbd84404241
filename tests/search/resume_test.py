import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from unittest import mock

from tests.search import stubs
from tests.search import subjects
from tests.test_case import TestCase
from tfshrink.search.evaluator import Evaluator
from tfshrink.search.greedy import greedy
from tfshrink.search.pareto import first_points
from tfshrink.search.pareto import pareto
from tfshrink.search.search import search
from tfshrink.search.search import Where
from tfshrink.search.settings import SearchSettings

ROOT = pathlib.Path(__file__).parents[2]
SETTINGS = SearchSettings(
    bits="8,4,3", iterations=60, seeds=6, prompts=4, tokens=32
)
RECORDS = """
SELECT value_json FROM trial_user_attributes
JOIN trials USING (trial_id)
WHERE key = 'record' AND state = 'COMPLETE' ORDER BY number
"""


def take(ledger):
    """Takes the next trial as a worker does that dies of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no heartbeat is kept
        ledger.study.ask()


def points(problem):
    return [tuple(one["point"]) for one in problem.ledger.records()]


class InterruptedTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path

    def test_the_first_points_survive_a_kill_while_they_are_queued(self):
        own = stubs.problem(self.folder, iterations=40, seeds=6)
        queue = own.ledger.study.enqueue_trial
        left = iter(range(2))

        def interrupted(point):
            next(left)  # StopIteration stands for the kill
            queue(point)

        own.ledger.study.enqueue_trial = interrupted
        with self.assertRaises(StopIteration):
            pareto(own)
        other = stubs.again(own, self.folder)
        pareto(other)
        self.assertContainsSubset(first_points(own), points(other))

    def test_a_plan_that_was_being_judged_is_judged_at_once(self):
        own = stubs.problem(self.folder, iterations=3, seeds=6)
        queue = own.ledger.run
        own.ledger.run = lambda *args: (take(own.ledger), queue(*args))
        pareto(own)
        other = stubs.again(own, self.folder, iterations=40)
        pareto(other)
        found = points(other)
        self.assertLen(found, 40)
        self.assertContainsSubset(first_points(own), found)

    def test_a_step_of_greedy_comes_behind_what_waits(self):
        own = stubs.problem(self.folder, iterations=30)
        run, steps = own.ledger.run, []

        def crowded(objective, point=None):
            if point is not None:
                if not steps:
                    own.ledger.study.enqueue_trial(dict.fromkeys(point, 0))
                steps.append(point)
            run(objective, point)

        own.ledger.run = crowded
        pareto(own)
        self.assertEqual(steps[0], steps[1])
        self.assertIn(tuple(steps[0].values()), points(own))

    def test_workers_of_a_greedy_search_share_what_they_found(self):
        own = stubs.problem(self.folder, method="greedy", iterations=100)
        other = stubs.again(own, self.folder)
        found = [greedy(one) for one in (own, other)]
        self.assertEqual(found[0], found[1])
        hashes = [one["hash"] for one in own.ledger.records()]
        self.assertLen(set(hashes), len(hashes))
        self.assertEqual(other.evaluator.count, 0)


class KilledTest(TestCase):
    """`bin/search` is killed, and goes on."""

    def setUp(self):
        super().setUp()
        folder = self.create_tempdir().full_path
        self.enterContext(subjects.own_cache(f"{folder}/cache"))
        self.found = f"{folder}/found"

    def start(self):
        """Starts a search of the tiny model."""
        names = ("bits", "iterations", "seeds")
        values = {name: getattr(SETTINGS, name) for name in names}
        values |= {**subjects.SMALL, "results_dir": self.found}
        arguments = [f"--{name}={value}" for name, value in values.items()]
        return subprocess.Popen(
            [sys.executable, "bin/search", "--skip_sensitivity", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def records(self):
        """Hashes of the plans in the database, read without Optuna."""
        path = pathlib.Path(self.found, "study.db")
        with contextlib.suppress(sqlite3.OperationalError):
            uri = f"file:{path}?mode=ro"
            connection = sqlite3.connect(uri, uri=True, timeout=60)
            with contextlib.closing(connection):
                rows = connection.execute(RECORDS).fetchall()
                return [json.loads(value)["hash"] for (value,) in rows]
        return []  # nothing is there yet

    def test_a_killed_search_goes_on_where_it_was(self):
        with self.start() as process:
            deadline = time.monotonic() + 120
            while len(self.records()) < 5:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
        before, judged = self.records(), []
        self.assertLess(len(before), SETTINGS.iterations)
        evaluation = Evaluator.evaluation

        def counted(self, plan, judgement):
            judged.append(plan.hash)
            return evaluation(self, plan, judgement)

        with mock.patch.object(Evaluator, "evaluation", counted):
            results, folder = search(
                subjects.subject(),
                dataclasses.replace(SETTINGS, iterations=len(before) + 9),
                Where(results_dir=self.found, resume=True),
                skip_sensitivity=True,
            )
        after = self.records()
        self.assertEqual(after[: len(before)], before)
        self.assertLen(after, len(before) + 9)
        self.assertEqual(results["search"]["judged"], len(after))
        self.assertNoCommonElements(judged, before)
        self.assertLen(set(judged), len(judged))
        self.assertContainsSubset(
            ["front.csv", "front.png", "log.csv", "plans", "results.json"],
            os.listdir(folder),
        )
