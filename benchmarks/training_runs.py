"""Runs of `bin/train` that a benchmark makes, or finds made."""

import json
import pathlib
import subprocess
import sys

from tfshrink.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]


def run(*command):
    """Runs one of the binaries; its output passes through.

    Raises:
        UserError: it failed; it has said why.
    """
    line = [sys.executable, str(ROOT / command[0]), *command[1:]]
    if subprocess.run(line, check=False, stdout=sys.stderr).returncode:
        raise UserError(f"`{' '.join(command)}` must end well. It failed.")


def trained(folder, *flags):
    """The results of a run.

    Args:
        folder: Its run folder. A run that was stopped goes on, one that is
            finished is taken as it is.
        *flags: Of `bin/train`.

    Returns:
        The dict of its `results.json`.
    """
    folder = pathlib.Path(folder)
    results = folder / "results.json"
    if not results.exists():
        again = ["--resume"] if (folder / "config.json").exists() else []
        run("bin/train", *flags, f"--workdir={folder}", *again)
    return json.loads(results.read_text("utf-8"))
