"""Kills commands at random moments, and looks at what they left.

`train`, `gen_data`, `search` and `export` of the tiny model are started,
killed (SIGKILL) and continued until so many kills are done. Half of the
moments are drawn from the whole run, half from the time in which it writes.
After each kill every file in the folder must be whole; in the end what came
out must be that of a run that nobody disturbed, and no unfinished file may be
there.

Examples:
  python -m tests.reliability.kills --kills=50
  python -m tests.reliability.kills --commands=export --kills=5
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

from tests.reliability.jobs import JOBS
from tfshrink import cli
from tfshrink.files import is_unfinished
from tfshrink.files import write_json

FLAGS = flags.FLAGS
ROOT = Path(__file__).parents[2]

with cli.flag_group("Killing"):
    flags.DEFINE_integer("kills", 50, "Kills, of all commands.")
    flags.DEFINE_list("commands", list(JOBS), "Commands.")
    flags.DEFINE_integer("seed", 0, "Decides the moments.")
    flags.DEFINE_integer("minutes", 25, "Time after which nobody is killed.")
    flags.DEFINE_string("json", None, "File that takes the table as JSON.")


def main(arguments):
    from tfshrink.evaluation.table import print_table

    names, rows = FLAGS.commands, []
    end = time.monotonic() + 60 * FLAGS.minutes
    with tempfile.TemporaryDirectory(prefix="tfshrink_kills_") as folder:
        for place, name in enumerate(names):
            count = FLAGS.kills * (place + 1) // len(names)
            count -= FLAGS.kills * place // len(names)
            left = (end - time.monotonic()) / (len(names) - place)
            own = Path(folder, name)
            row = Study(name, own, FLAGS.seed).run(count, left)
            rows.append(row)
            print(json.dumps(row), flush=True)
    shown = ("command", "kills", "writing", "starts", "problems", "same")
    print_table(rows, (*shown, "seconds"))
    if FLAGS.json:
        write_json(FLAGS.json, {"seed": FLAGS.seed, "commands": rows})
    bad = sum(row["problems"] for row in rows)
    sys.exit(1 if bad or not all(row["same"] for row in rows) else 0)


class Study:
    """Kills of one command.

    Args:
        name: One of `JOBS`.
        folder: Where everything goes.
        seed: Decides the moments.
    """

    def __init__(self, name, folder, seed):
        self.name = name
        self.job = JOBS[name]
        self.folder = folder
        self.random = random.Random(f"{seed}/{name}")
        self.found = []  # what was wrong
        self.kills = self.writing = self.starts = 0

    def run(self, count, seconds):
        """Kills so often, in so many seconds at most; returns a row."""
        began = time.monotonic()
        self.folder.mkdir()
        (self.folder / "text.txt").write_text(TEXT * 40)
        whole = self.folder / "whole"
        total, writes = self._undisturbed(whole)
        wanted = self.job.outcome(whole)
        same = True
        while self.kills < count and time.monotonic() - began < seconds:
            killed = self.folder / f"killed-{self.starts}"
            while not self._finished(killed, count, total, writes):
                pass
            outcome = self.job.outcome(killed)
            if outcome != wanted:
                same = False
                self.found.append(f"another outcome in {killed.name}")
            self._check_leftovers(killed)
        return {
            "command": self.name,
            "kills": self.kills,
            "writing": self.writing,
            "starts": self.starts,
            "problems": len(self.found),
            "same": same,
            "undisturbed_seconds": round(total, 1),
            "seconds": round(time.monotonic() - began, 1),
            "what": self.found,
        }

    def _undisturbed(self, place):
        """Runs the command; seconds in all, and from its first write on."""
        start = time.monotonic()
        process = self._start(place, resume=False)
        first = None
        while process.poll() is None:
            if first is None and _files(place):
                first = time.monotonic()
            time.sleep(0.005)
        if process.returncode:
            raise RuntimeError(f"{self.name} failed: {self._log()}")
        end = time.monotonic()
        return end - start, end - (first or end)

    def _finished(self, place, count, total, writes):
        """Starts the command once more; whether it came to its end."""
        before = _files(place)
        resume = self.job.resumable(place)
        process = self._start(place, resume)
        self.starts += 1
        if self.kills >= count:
            process.wait()
        elif self.kills % 2:  # while it writes
            while process.poll() is None and _files(place) == before:
                time.sleep(0.002)
            self._kill(process, self.random.uniform(0, writes), writing=True)
        else:
            self._kill(process, self.random.uniform(0, total))
        if process.returncode not in (0, -signal.SIGKILL):
            self.found.append(f"exit {process.returncode}: {self._log()}")
            return True
        self._check_whole(place)
        return process.returncode == 0

    def _kill(self, process, seconds, writing=False):
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self.kills += 1
            self.writing += writing

    def _start(self, place, resume):
        arguments = self.job.arguments(place, resume)
        log = open(self.folder / "log.txt", "w")
        with log:
            return subprocess.Popen(
                [sys.executable, ROOT / "bin" / self.job.binary, *arguments],
                cwd=self.folder,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "TFSHRINK_CACHE": str(self.folder.parent / "cache"),
                    # Runs that begin alike share what XLA compiled.
                    "TF_XLA_FLAGS": "--tf_xla_persistent_cache_directory="
                    + str(self.folder.parent / "compiled"),
                },
                stdout=log,
                stderr=log,
            )

    def _log(self):
        lines = (self.folder / "log.txt").read_text().strip().splitlines()
        return lines[-1] if lines else "no word"

    def _check_whole(self, place):
        """Every file that has its name can be read."""
        for path in _files(place):
            try:
                problem = _problem(path)
            except Exception as error:  # any is one too many
                problem = f"{type(error).__name__}: {error}"
            if problem:
                self.found.append(f"{path.name}: {problem}")

    def _check_leftovers(self, place):
        for path in place.parent.rglob(".*"):
            if is_unfinished(path):
                self.found.append(f"{path.name} is left")


def _files(place):
    """Path and time of the files of a run, those that are finished."""
    parts = (place, *place.parent.glob(f"{place.name}.*"))
    found = {}
    for path in (*parts, *place.rglob("*")):
        hidden = any(is_unfinished(part) for part in (path, *path.parents))
        try:
            if path.is_file() and not hidden:
                found[path] = path.stat().st_mtime_ns
        except FileNotFoundError:
            pass  # it was renamed
    return found


def _problem(path):
    """What is wrong with a file, or `None`."""
    from tfshrink.data.records import repair_records
    from tfshrink.models.checkpoint import load_tensors

    if path.suffix == ".json":
        json.loads(path.read_text("utf-8"))
    elif path.suffix == ".safetensors":
        load_tensors(path)
    elif ".jsonl" in path.name:
        lines = path.read_bytes().split(b"\n")
        for line in lines[:-1]:  # behind the last newline a line may begin
            json.loads(line)
        if path.name.endswith(".jsonl") and path.name != "metrics.jsonl":
            repair_records(str(path)) if lines[-1] else None
            return "torn" if lines[-1] else None
    elif path.suffix == ".db" and path.stat().st_size:
        with sqlite3.connect(path, timeout=60) as base:
            found = base.execute("PRAGMA integrity_check").fetchone()[0]
        base.close()
        return None if found == "ok" else found
    elif path.suffix == ".tflite":
        from tfshrink.deploy.artefact import Artefact

        Artefact(path.parent)
    return None


TEXT = (
    "A plan says how many bits each group of layers gets. Training samples "
    "plans, search proposes them, evaluation prices them, export freezes one. "
    "What varies from plan to plan enters the compiled function as arguments, "
    "so one compiled step serves every plan.\n\n"
)

if __name__ == "__main__":
    cli.run(main)
