"""The folder that holds everything one run writes."""

import json
import os
import re
import shutil
from pathlib import Path

from tfshrink.errors import DAMAGE
from tfshrink.errors import UserError
from tfshrink.files import atomic_write
from tfshrink.files import is_unfinished
from tfshrink.files import plain
from tfshrink.files import write_json
from tfshrink.lock import Lock

CONTENTS = (
    "config.json",
    "plan.json",
    "metrics.jsonl",
    "checkpoints",
    "tb",
    "results.json",
)
# Some runs write these too; alone they make no folder a run.
EXTRAS = (
    "exits.json",
    "front.csv",
    "front.png",
    "generated.jsonl",
    "generated.jsonl.partial",
    "initialisation.json",
    "log.csv",
    "plans",
    "range_test.json",
    "sensitivity.json",
    "sensitivity.png",
    "study.db",
    "tokenizer.json",
)


FOLDERS = ("checkpoints", "plans")  # those with files of ours


class RunFolder:
    """A run folder: `config.json`, `plan.json`, `metrics.jsonl` and so on.

    An earlier run is never touched unless `overwrite` or `resume` says so, and
    never by two processes at once: as long as the object lives, those of
    another process are refused. Files that a killed run did not finish go.
    Make one only after every other argument was checked: a mistyped flag
    beside `--overwrite` must not cost the earlier run.

    Args:
        path: The folder. `None` takes the next free `<root>/<name>-<n>`,
            or with `resume` the last one there is.
        name: First part of the folder's name when `path` is `None`.
        overwrite: Removes what an earlier run left in the folder (only a
            run's own files, never others).
        resume: Continues the run that is in the folder.
        root: Where folders without a `path` go.

    Raises:
        UserError: The folder holds a run and neither `overwrite` nor
            `resume` is set, holds something that is no run, holds nothing to
            resume, or another process writes into it.

    Example:

    ```python
    run = RunFolder("runs/first")
    run.write("config.json", {"style": "spnet"})
    run.log({"step": 1, "loss": 3.2})
    ```
    """

    def __init__(
        self,
        path=None,
        *,
        name="run",
        overwrite=False,
        resume=False,
        root="runs",
    ):
        if overwrite and resume:
            raise UserError(
                "`--overwrite` and `--resume` exclude each other: one starts "
                "anew, one continues. Received: both"
            )
        self.name = name
        self.resumed = resume
        if path:
            self.path = Path(path)
        else:
            self.path = _last(root, name) if resume else _next(root, name)
        self._check(overwrite)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(self.path, "--workdir")
        self._check(overwrite)  # nobody came before
        if overwrite:
            self._clear()
        self._forget_unfinished()
        if resume:
            self._mend_metrics()

    def _check(self, overwrite):
        if self.path.exists() and not self.path.is_dir():
            raise UserError(
                "`--workdir` must name a folder. "
                f"Received: {self.path}, which is a file"
            )
        found = self.path.iterdir() if self.path.exists() else ()
        found = {file.name for file in found if not is_unfinished(file)}
        is_run = bool(found.intersection(CONTENTS))
        if self.resumed and not is_run:
            raise UserError(
                "`--resume` continues the run in `--workdir`. "
                f"Received: {self.path}, which holds no run"
            )
        if overwrite and found and not is_run:
            raise UserError(
                "`--overwrite` replaces an earlier run only. Received: "
                f"--workdir={self.path}, which holds files but no run"
            )
        if found and not overwrite and not self.resumed:
            raise UserError(
                "`--workdir` must be new or empty, or come with --resume or "
                f"--overwrite. Received: {self.path}, which is not empty"
            )

    def _clear(self):
        # Killed in the middle, what is left is still known as a run.
        for name in (*EXTRAS, *reversed(CONTENTS)):
            path = self.path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _forget_unfinished(self):
        """Removes what a killed process did not come to name."""
        for folder in (self.path, *map(self.path.joinpath, FOLDERS)):
            for file in folder.glob(".*.tmp"):
                if is_unfinished(file):
                    file.unlink()

    @property
    def checkpoints(self):
        """The folder of checkpoints; made when first asked for."""
        return self._folder("checkpoints")

    @property
    def tensorboard(self):
        """The folder of TensorBoard events; made when first asked for."""
        return self._folder("tb")

    def _folder(self, name):
        folder = self.path / name
        folder.mkdir(exist_ok=True)
        return folder

    def write(self, name, value):
        """Writes one of the run's JSON files, whole or not at all."""
        write_json(self.path / name, value)

    def read(self, name):
        """Reads one of the run's JSON files back, a dict.

        Raises:
            UserError: The file is missing or no JSON object.
        """
        path = self.path / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(
                f"A run folder must hold {name}. Received: {self.path}"
            ) from error
        except DAMAGE as error:
            raise UserError(
                f"{path} must be valid JSON. Received: {error}"
            ) from error
        if not isinstance(value, dict):
            raise UserError(
                f"{path} must hold a JSON object. "
                f"Received: {type(value).__name__}"
            )
        return value

    def log(self, metrics):
        """Appends one line to `metrics.jsonl`; it is on disk on return."""
        line = json.dumps(plain(metrics), allow_nan=False)
        path = self.path / "metrics.jsonl"
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:  # a full disk does not name the file
            raise OSError(error.errno, error.strerror, str(path)) from error

    def metrics(self):
        """The lines of `metrics.jsonl` as a list of dicts.

        A last line that a killed run cut short is left out.

        Raises:
            UserError: Another line is damaged.
        """
        return read_metrics(self.path / "metrics.jsonl")

    def forget_after(self, step):
        """Drops metrics past the checkpoint a resumed run starts from.

        Args:
            step: The last step to keep; lines without a `"step"` stay.
        """
        self._rewrite(
            [line for line in self.metrics() if line.get("step", 0) <= step]
        )

    def _mend_metrics(self):
        if (self.path / "metrics.jsonl").exists():
            self._rewrite(self.metrics())

    def _rewrite(self, metrics):
        with atomic_write(self.path / "metrics.jsonl") as file:
            for line in metrics:
                file.write(json.dumps(line) + "\n")


def read_metrics(path):
    """The lines of a `metrics.jsonl`, as `RunFolder.metrics` has them."""
    path = Path(path)
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    # What follows the last newline is empty, or was never finished.
    return [
        _metrics(line, f"{path} line {number}")
        for number, line in enumerate(lines[:-1], 1)
    ]


def _metrics(line, place):
    """One line of `metrics.jsonl`."""
    try:
        values = json.loads(line)
        if type(values.get("step", 0)) is int:
            return values
        problem = f"step {values['step']!r}"
    except DAMAGE as error:
        problem = f"{type(error).__name__}: {error}"
    raise UserError(
        f"{place} must be a JSON object whose step is an integer. "
        f"Received: {problem}"
    )


def _numbers(root, name):
    """Numbers of the folders `<root>/<name>-<n>` there are, in order."""
    pattern = re.compile(re.escape(name) + r"-(\d+)")
    found = os.listdir(root) if os.path.isdir(root) else ()
    return sorted(int(m[1]) for f in found if (m := pattern.fullmatch(f)))


def _next(root, name):
    """Makes the next free folder; two runs that start at once get two."""
    number = max(_numbers(root, name), default=0) + 1
    while True:
        path = Path(root) / f"{name}-{number}"
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1


def _last(root, name):
    numbers = _numbers(root, name)
    if not numbers:
        raise UserError(
            "`--resume` without `--workdir` continues the last "
            f"{root}/{name}-<n>. Received: no such folder"
        )
    return Path(root) / f"{name}-{numbers[-1]}"
