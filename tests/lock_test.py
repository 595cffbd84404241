import contextlib
import errno
import gc
import os
import pathlib
import signal
import subprocess
import sys
from unittest import mock

from tests.test_case import TestCase
from tfshrink import lock
from tfshrink.errors import UserError
from tfshrink.lock import Lock
from tfshrink.run_folder import RunFolder

# A process that runs in a folder until it is killed, and one that wants to.
RUNS = """
import sys, time
from tfshrink.run_folder import RunFolder
run = RunFolder(sys.argv[1])
run.write("config.json", {})
print("runs", flush=True)
time.sleep(600)
"""
WANTS = """
import sys
from tfshrink.errors import UserError
from tfshrink.run_folder import RunFolder
for how in ({}, {"resume": True}, {"overwrite": True}):
    try:
        RunFolder(sys.argv[1], **how)
        print("runs")
    except UserError as error:
        print(error)
"""


def python(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(pathlib.Path(__file__).parents[1]),
        },
    )


class LockTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path) / "run"

    @contextlib.contextmanager
    def running(self):
        """A process that writes into the folder; killed at the end."""
        with python(RUNS, self.folder) as process:
            try:
                self.assertEqual(process.stdout.readline(), "runs\n")
                yield process
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()

    def test_two_processes_on_one_run_folder_are_refused(self):
        with self.running():
            before = os.listdir(self.folder)
            with python(WANTS, self.folder) as other:
                said = other.stdout.read().splitlines()
            self.assertLen(said, 3)
            self.assertIn("is not empty", said[0])
            for line in said[1:]:  # to go on, and to begin anew
                self.assertIn("`--workdir` must be in use by no other", line)
                self.assertIn(str(self.folder), line)
            # This process is another, too.
            with self.assertRaisesRegex(UserError, "no other process"):
                RunFolder(self.folder, resume=True)
            self.assertEqual(os.listdir(self.folder), before)

    def test_what_is_killed_holds_nothing(self):
        with self.running():
            pass
        self.assertTrue(RunFolder(self.folder, resume=True).resumed)
        # Nothing of a lock lies there.
        self.assertEqual(os.listdir(self.folder), ["config.json"])

    def test_it_is_free_once_nobody_needs_it(self):
        self.folder.mkdir()
        first, again = (Lock(self.folder, "--out") for _ in range(2))
        for _ in range(2):
            with python(WANTS, self.folder) as other:
                self.assertIn("no other process", other.stdout.readline())
            del first  # the other one still holds it
            gc.collect()
            first = again
        del first, again
        gc.collect()
        with python(WANTS, self.folder) as other:
            self.assertEqual(other.stdout.readline(), "runs\n")

    def test_without_locks_nothing_is_refused(self):
        self.folder.mkdir()
        unknown = OSError(errno.ENOLCK, "No locks available")
        with mock.patch("fcntl.flock", side_effect=unknown):
            self.assertIsNotNone(Lock(self.folder, "--out"))
        with mock.patch.object(lock, "fcntl", None):
            self.assertIsNotNone(Lock(self.folder, "--out"))

    def test_machines_of_one_run_have_folders_of_their_own(self):
        from tfshrink.training import train

        own = []
        for index in range(2):
            machine = mock.patch.object(
                train, "machines", return_value=(index, 2)
            )
            with machine:
                own.append(RunFolder(train._own_workdir(self.folder)))
        self.assertNotEqual(own[0].path, own[1].path)

    def test_a_generated_file_has_one_writer(self):
        from tfshrink.data.generated import generate_text

        output = str(self.folder.parent / "text.jsonl")
        pathlib.Path(output + ".partial").touch()
        script = (
            "import sys, time\nfrom tfshrink.lock import Lock\n"
            "lock = Lock(sys.argv[1], 'x')\nprint('runs', flush=True)\n"
            "time.sleep(600)"
        )
        with python(script, output + ".partial") as other:
            other.stdout.readline()
            with self.assertRaisesRegex(UserError, "`--output` must be in use"):
                generate_text(
                    lambda starts, seed: [[1]] * len(starts),
                    lambda index: [1],
                    output,
                    count=2,
                    batch_size=2,
                )
            other.kill()
        self.assertFalse(os.path.exists(output))
