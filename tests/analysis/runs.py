"""Run folders that say what a run would, without its seconds."""

import json
import pathlib

from tests.training import tiny
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.plan import Plan


def config(*plans, **settings):
    """What the config of a run of `tiny` says of plans and settings."""
    own = [Plan.parse(text, layers=2, group=32) for text in plans]
    return {
        "plans": [plan.to_json() for plan in own],
        "settings": tiny.settings(plan=";".join(plans), **settings).to_json(),
    }


def write_metrics(folder, losses):
    """A log with these losses, a dict of a plan's name to nats each step."""
    lines = [
        json.dumps({"step": step + 1, "loss": 1.0, "losses": values})
        for step, values in enumerate(losses)
    ]
    path = pathlib.Path(folder, "metrics.jsonl")
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def write_log(folder, losses=({"8": 1.0},), *plans, **settings):
    """A finished run of 8 and 4 bits whose weights nobody can read."""
    folder = pathlib.Path(folder)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "final.safetensors").write_bytes(b"")
    precision = PrecisionConfig(widths=(4,), ranks=(4,), group=32)
    values = {
        "model": "tiny",
        "precision": precision.to_json(),
        **config(*(plans or ("8", "4")), **settings),
    }
    (folder / "config.json").write_text(json.dumps(values))
    return write_metrics(folder, losses)
