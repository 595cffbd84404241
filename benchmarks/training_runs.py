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

    Raises:
        UserError: the run failed, or its results were replaced by those of
            another judgement.
    """
    from tfshrink.training.kept_run import is_begun

    folder = pathlib.Path(folder)
    results = folder / "results.json"
    if not results.exists():
        again = ["--resume"] if is_begun(folder) else []
        run("bin/train", *flags, f"--workdir={folder}", *again)
    found, config = (
        json.loads(path.read_text("utf-8"))
        for path in (results, folder / "config.json")
    )
    plans, own = ([p["name"] for p in d["plans"]] for d in (found, config))
    protocol, settings = found["protocol"], config["settings"]
    same = protocol["dtype"] == settings["dtype"] and not protocol["limit"]
    if plans != own or not same:
        raise UserError(
            f"{results} must be what training left there, of plans {own} on "
            f"all text in {settings['dtype']}; remove it, and the run judges "
            f"itself again. Received: {plans}, {protocol['dtype']}, limit "
            f"{protocol['limit']}"
        )
    return found


def minutes(results):
    """Minutes a run took to train; `None` where it was stopped in between."""
    seconds = results["training_seconds"]
    return None if seconds is None else seconds / 60
