import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time

from tests.search import stubs
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.search import ledger as ledger_lib
from tfshrink.search.settings import SearchSettings

ROOT = pathlib.Path(__file__).parents[2]
# One worker of a shared search, which takes a while over each plan.
WORKER = """
import sys, time
from tests.search import stubs
from tfshrink.search.pareto import pareto
folder, seconds = sys.argv[1], float(sys.argv[2])
settings = stubs.SearchSettings(bits="8,4,3", seeds=4, iterations=40)
space = stubs.SearchSpace(stubs.CONFIG, (8, 4, 3), (8, 4))
problem = stubs.Problem(stubs.StubEvaluator(), space, settings)
problem.join(stubs.ledger(folder, settings, resume=True))
problem.shared = True
judge = problem.evaluator.__class__.__call__
def slowly(self, plan):
    time.sleep(seconds)
    return judge(self, plan)
problem.evaluator.__class__.__call__ = slowly
pareto(problem)
"""


def worker(folder, seconds):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, folder, str(seconds)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


class LedgerTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path
        self.settings = SearchSettings(bits="8,4,3")

    def open(self, **options):
        return stubs.ledger(self.folder, self.settings, **options)

    def test_records_are_there_for_the_next_one(self):
        self.open().add({"hash": "a", "bytes": 3}, [3.0, 0.5])
        self.assertEqual(
            self.open(resume=True).records(), [{"hash": "a", "bytes": 3}]
        )

    def test_a_study_is_not_taken_for_a_new_one(self):
        self.open()
        with self.assertRaisesRegex(UserError, "--resume continues it"):
            self.open()

    def test_a_study_of_something_else_is_refused(self):
        self.open(identity={"of": "another model"})
        with self.assertRaisesRegex(UserError, "of another model"):
            self.open(resume=True)

    def test_a_damaged_database_is_one_clear_error(self):
        path = pathlib.Path(self.folder, "study.db")
        path.write_bytes(b"no database" * 100)
        with self.assertRaisesRegex(UserError, "study.db.*not a database"):
            self.open()

    def test_a_locked_database_is_one_clear_error(self):
        self.open()
        with sqlite3.connect(f"{self.folder}/study.db") as connection:
            connection.execute("BEGIN EXCLUSIVE")
            with self.swap(ledger_lib, "PATIENCE", 0.2):
                with self.assertRaisesRegex(UserError, "database is locked"):
                    self.open(resume=True)

    def test_a_read_only_database_is_one_clear_error(self):
        own = self.open()
        own.storage = "sqlite:///study.db"
        # What SQLite says of a file that it may not write (root may always).
        with self.assertRaisesRegex(UserError, "`storage` must be.*readonly"):
            with own._clear_errors():
                raise own._errors[0]("attempt to write a readonly database")

    def test_a_killed_worker_leaves_the_search_to_the_other(self):
        self.open()
        doomed, other = worker(self.folder, 0.2), worker(self.folder, 0.02)
        deadline = time.monotonic() + 120
        while len(self.open(resume=True).records()) < 5:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        os.kill(doomed.pid, signal.SIGKILL)
        doomed.communicate()
        before = self.open(resume=True).records()
        output, _ = other.communicate(timeout=120)
        self.assertEqual(other.returncode, 0, output.decode()[-2000:])
        after = self.open(resume=True).records()
        self.assertGreaterEqual(len(after), 40)
        hashes = [one["hash"] for one in after]
        self.assertContainsSubset([one["hash"] for one in before], hashes)

    def swap(self, module, name, value):
        """Another value of a module's constant, for a while."""
        from unittest import mock

        return mock.patch.object(module, name, value)
