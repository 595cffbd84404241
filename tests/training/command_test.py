import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import compiled
from tests.test_case import TestCase
from tests.training import tiny
from tfshrink.models.checkpoint import load_tensors

BINARY = Path(__file__).parents[2] / "bin" / "train"

# Runs the binary once a line of arguments, in one process: imports are slow.
DRIVER = """
import contextlib, importlib.machinery, importlib.util, io, json, sys
from absl.testing import flagsaver
from tfshrink import cli

loader = importlib.machinery.SourceFileLoader("binary", sys.argv[1])
spec = importlib.util.spec_from_loader("binary", loader)
module = sys.modules["binary"] = importlib.util.module_from_spec(spec)
loader.exec_module(module)
found = []
for arguments in json.load(sys.stdin):
    out, error = io.StringIO(), io.StringIO()
    with flagsaver.flagsaver():
        with contextlib.redirect_stdout(out):
            with contextlib.redirect_stderr(error):
                code = cli._run(module.main, ["train", *arguments], False)
    found.append([code, out.getvalue(), error.getvalue()])
print(json.dumps(found), flush=True)
"""
TINY = (
    "--model=tiny",
    "--plan=8;4",
    "--group=32",
    "--ranks=2,2",
    "--total_steps=6",
    "--batch_size=2",
    "--context=16",
    "--limit=4",
    "--dtype=float32",
    "--init=mse",
    "--bank=none",
    "--nouse_tensorboard",
    "--checkpoint_minutes=0",
    "--learning_rate=0.003",
)


def files_below(folder):
    """Path and content of every file."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


class MistakesTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = Path(self.create_tempdir().full_path)

    def run_all(self, *cases):
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, str(BINARY)],
            input=json.dumps(cases),
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(BINARY.parents[1])},
            timeout=900,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def test_each_mistake_is_one_line_and_leaves_no_trace(self):
        (self.folder / "empty.txt").write_text("")
        (self.folder / "short.txt").write_text("too short")
        (self.folder / "broken.json").write_text('{"bits": ')
        (self.folder / "config.py").write_text(
            "def get_config():\n    return {'stile': 'spnet'}\n"
        )
        earlier = self.folder / "earlier"
        earlier.mkdir()
        (earlier / "config.json").write_text("{}")
        plan, wide = (self.folder / name for name in ("a.json", "b.json"))
        tiny.plans("4")[0].save(plan)
        values = json.loads(plan.read_text())
        wide.write_text(json.dumps({**values, "layers": 3}))
        cases = {
            "--style=spent": "Did you mean `spnet`",
            "--init=gpqt": "Did you mean `gptq`",
            "--totl_steps=3": "Did you mean --total_steps",
            "--total_steps=many": "`--total_steps` must be",
            "--plan=9": "between 2 and 8",
            "--plan=broken.json": "broken.json",
            "--plan=b.json": "b.json",
            "--plan=8,4": "must have 8 bit-widths",
            "--group=128": "`group` must divide",
            "--train=adaptors": "Did you mean `adapters`",
            "--data=empty.txt": "empty.txt",
            "--data=short.txt": "context",
            "--data=missing.txt": "missing.txt",
            "--data=pydocs": "pydoc",
            "--eval_data=missing.txt": "missing.txt",
            "--context=4096": "`context` must be at most 512",
            "--model=missing.gguf": "missing.gguf",
            "--model=tinny": "tin",
            "--config=missing.py": "missing.py",
            "--config=config.py": "Did you mean `style`",
            "--workdir=earlier": "--overwrite",
            "--resume": "no such folder",
            "--start=missing.safetensors": "`start` must be start.safe",
            "typo": "--name=value",
        }
        before = files_below(self.folder)
        found = self.run_all(*[[*TINY, own] for own in cases])
        for (own, expected), (code, _, error) in zip(
            cases.items(), found, strict=True
        ):
            self.assertEqual(code, 1, f"{own}: {error}")
            self.assertIn(expected, error, own)
            self.assertEqual(error.count("\n"), 1, f"{own}: {error}")
        self.assertEqual(files_below(self.folder), before)
        self.assertFalse((self.folder / "runs").exists())

    def test_list_help_and_dry_run_write_nothing(self):
        found = self.run_all(
            ["--list"], ["--help"], [*TINY, "--dry_run", "--style=cyclic"]
        )
        for code, _, error in found:
            self.assertEqual(code, 0, error)
        listed, manual, tried = (out for _, out, _ in found)
        for word in ("spnet", "instantnet", "awq", "adapters", "pydoc"):
            self.assertIn(word, listed)
        self.assertIn("bin/train --style=spnet", manual)
        self.assertIn("One step of 32 tokens", tried)
        self.assertEqual(files_below(self.folder), {})

    def test_help_answers_within_three_seconds_of_work(self):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, str(BINARY), "--help"],
            capture_output=True,
            check=True,
            timeout=120,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime
        spent -= before.ru_utime + before.ru_stime
        self.assertLess(spent, 3.0)


@pytest.mark.slow
class KilledTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = Path(self.create_tempdir().full_path)

    def start(self, name, *arguments, within=()):
        """Starts the binary; `within` is a command that takes its line."""
        log = open(self.folder / f"{name}.log", "a")
        self.addCleanup(log.close)
        process = subprocess.Popen(
            [*within, sys.executable, str(BINARY), *TINY, f"--workdir={name}"]
            + list(arguments),
            cwd=self.folder,
            # A limit on files would hit those of what was compiled first.
            env=None if within else compiled.environment(),
            stdout=log,
            stderr=log,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def kill_when(self, process, condition, timeout=600):
        """Waits for a condition on the run's files, then sends SIGKILL."""
        end = time.monotonic() + timeout
        while not condition() and process.poll() is None:
            self.assertLess(time.monotonic(), end, "nothing happened")
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def test_a_run_killed_thrice_ends_with_the_same_bytes(self):
        data = ("--data=pydoc+generated", "--generated_rows=2")
        whole, killed = self.folder / "whole", self.folder / "killed"
        final = "checkpoints/final.safetensors"
        self.kill_when(
            self.start("whole", *data), (whole / final).exists
        )  # what follows, the judgement, is not compared
        conditions = [
            (killed / "config.json").exists,  # while it generates
            (killed / "generated.jsonl").exists,  # while it initialises
            lambda: len(self.lines(killed)) >= 2,
            (killed / final).exists,
        ]
        for number, condition in enumerate(conditions):
            more = ["--resume"] if number else []
            self.kill_when(self.start("killed", *data, *more), condition)
        self.assertEqual(
            (killed / final).read_bytes(), (whole / final).read_bytes()
        )
        start = whole / "checkpoints/start.safetensors"
        data = f"--data=pydoc+{whole}/generated.jsonl"
        self.kill_when(
            self.start("again", data, f"--start={start}"),
            (self.folder / "again" / final).exists,
        )
        self.assertEqual(
            (self.folder / "again" / final).read_bytes(),
            (whole / final).read_bytes(),
        )
        tensors, _ = load_tensors(killed / final)
        started, _ = load_tensors(killed / "checkpoints/start.safetensors")
        self.assertTrue(
            any((tensors[name] != started[name]).any() for name in tensors)
        )
        self.assertEqual(
            [json.loads(line)["step"] for line in self.lines(killed)],
            [1, 2, 3, 4, 5, 6],
        )

    def lines(self, folder):
        path = folder / "metrics.jsonl"
        return path.read_text().splitlines() if path.exists() else []

    def test_divergence_is_one_line_and_exit_1(self):
        process = self.start("wild", "--learning_rate=1e20")
        self.assertEqual(process.wait(900), 1)
        log = (self.folder / "wild.log").read_text()
        self.assertNotIn("Traceback", log)
        self.assertRegex(log, r"train: The loss of plan \d became .* at step")
        last = self.folder / "wild/checkpoints/last.safetensors"
        if last.exists():
            load_tensors(last)

    def test_a_full_disk_is_one_line_and_leaves_no_half_file(self):
        limit = ("bash", "-c", 'ulimit -f 49; exec "$@"', "limited")
        process = self.start("full", within=limit)
        self.assertEqual(process.wait(900), 1)
        log = (self.folder / "full.log").read_text()
        self.assertNotIn("Traceback", log)
        self.assertIn("start.safetensors: File too large", log)
        names = os.listdir(self.folder / "full/checkpoints")
        self.assertEqual(names, [])
