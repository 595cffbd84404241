#!/usr/bin/env python
"""Trains configs and sets their quality beside that of rounding alone.

Each config runs through `bin/train` into its own folder; a run that was stopped
goes on, one that is finished is taken as it is. Then `bin/evaluate` judges the
same plans on the same text after rounding to nearest and after a search of the
scale with the least squared error. All ratios are to full precision.

Examples:
  python benchmarks/quality.py
  python benchmarks/quality.py --configs=configs/spnet_best.py
  python benchmarks/quality.py --folder=runs/quality --json=out/quality.json
"""

import json
import pathlib

from absl import flags
from training_runs import minutes
from training_runs import run
from training_runs import trained

from tfshrink import cli
from tfshrink.files import write_json
from tfshrink.training.command import load_config
from tfshrink.training.settings import TrainSettings

FLAGS = flags.FLAGS
NAMES = (
    "spnet",
    "spnet_g32",
    "spnet_channel",
    "spnet_best",
    "spnet_best_channel",
)
# The largest ratio that is asked of a run of a config, by bit-width.
ASKED = {
    "spnet": {"8": 1.01, "4": 1.15, "2": 25.0},
    "spnet_g32": {"8": 1.01, "4": 1.10},
    "spnet_channel": {"8": 1.01, "4": 1.30},
    "spnet_best": {"8": 1.01, "4": 1.06, "3": 1.5, "2": 4.0},
    "spnet_best_channel": {"8": 1.01, "4": 1.12, "2": 10.0},
}
COLUMNS = {
    "config": "config",
    "name": "plan",
    "group": "group",
    "perplexity_ratio": "ratio",
    "asked": "asked",
    "mse": "scale search alone",
    "rtn": "rounding alone",
    "megabytes": "MB",
    "minutes": "min of training",
}
FORMATS = {
    "perplexity_ratio": ".3f",
    "mse": ".3f",
    "rtn": ".3f",
    "megabytes": ".1f",
    "minutes": ".1f",
}

with cli.flag_group("Work"):
    flags.DEFINE_list(
        "configs", [f"configs/{name}.py" for name in NAMES], "Config files."
    )
    flags.DEFINE_string("folder", "runs/quality", "Where the run folders go.")
with cli.flag_group("Output"):
    flags.DEFINE_string("json", None, "File that takes the figures.")


def rounded(settings, scales, path):
    """Ratio by plan of the same plans and text without any training."""
    if not path.exists():
        run(
            "bin/evaluate",
            f"--model={settings.model}",
            f"--plan={settings.plan}",
            f"--group={settings.group}",
            f"--scales={scales}",
            f"--data={settings.eval_data}",
            f"--dtype={settings.dtype}",
            f"--json={path}",
        )
    plans = json.loads(path.read_text("utf-8"))["plans"]
    return {row["name"]: row["perplexity_ratio"] for row in plans}


def measure(config, folder):
    """Rows of the table, one a plan of the config.

    Args:
        config: Config file.
        folder: Where its run folder goes.

    Returns:
        List of dicts with the keys of `COLUMNS`, and the rows of
        `results.json`.
    """
    name = pathlib.Path(config).stem
    settings = TrainSettings(**load_config(config))
    results = trained(folder / name, f"--config={config}")
    alone = {
        scales: rounded(settings, scales, folder / f"{name}_{scales}.json")
        for scales in ("mse", "rtn")
    }
    return [
        {
            **row,
            "config": name,
            "asked": ASKED.get(name, {}).get(row["name"]),
            "megabytes": row["bytes"] / 1e6,
            "minutes": minutes(results),
            **{scales: ratios[row["name"]] for scales, ratios in alone.items()},
        }
        for row in results["plans"]
    ]


def main(arguments):
    """Measures and prints the figures."""
    from tfshrink.evaluation.results import origin
    from tfshrink.evaluation.table import print_table

    folder = pathlib.Path(FLAGS.folder)
    rows = sum((measure(config, folder) for config in FLAGS.configs), [])
    title = "Perplexity over that of full precision, on text no run has seen"
    print_table(rows, COLUMNS, title=title, formats=FORMATS)
    if FLAGS.json:
        result = {"title": title, "rows": rows, **origin()}
        write_json(FLAGS.json, result)


if __name__ == "__main__":
    cli.run(main)
