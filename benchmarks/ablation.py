#!/usr/bin/env python
"""Leaves out or changes one ingredient of the recipe at a time.

The first run is the whole recipe. What concerns training alone starts from
that run's initialised checkpoint and its text; what concerns initialisation or
text makes its own. Every run is judged on the same text. A run that was
stopped goes on, one that is finished is taken as it is.

Examples:
  python benchmarks/ablation.py
  python benchmarks/ablation.py --variants=whole,no_distillation
  python benchmarks/ablation.py --flags="--group=0" --folder=runs/channel
"""

import pathlib
import shlex

from absl import flags
from training_runs import minutes
from training_runs import trained

from tfshrink import cli
from tfshrink.errors import unknown_choice
from tfshrink.files import write_json
from tfshrink.training.settings import DEFAULTS

FLAGS = flags.FLAGS
WHOLE = "whole"
# What is another than in the whole recipe, by ingredient. The flags of the
# second kind leave initialisation and text as they were.
FROM_SCRATCH = {
    "init_gptq": ("initialisation", ["--init=gptq"]),
    "init_mse": ("initialisation", ["--init=mse"]),
    "no_adapters": ("LoRA", ["--ranks=0", "--train=scales"]),
    "low_ranks": ("LoRA", ["--ranks=4,8,16"]),
    "own_text": ("data", ["--data=generated", "--generated_rows=320"]),
    "no_own_text": ("data", ["--data=pydoc"]),
}
FROM_START = {
    "init_alone": (
        "end to end",
        ["--total_steps=1", "--learning_rate=0"],
    ),
    "no_distillation": ("distillation", ["--nodistill"]),
    "scales_too": ("LSQ", ["--train=adapters,scales"]),
}
VARIANTS = {WHOLE: ("", []), **FROM_START, **FROM_SCRATCH}

with cli.flag_group("Work"):
    flags.DEFINE_list("variants", list(VARIANTS), "Which to run.")
    flags.DEFINE_string("flags", "", "Flags that all runs of bin/train get.")
    flags.DEFINE_string("folder", "runs/ablation", "Where the runs go.")
with cli.flag_group("Output"):
    flags.DEFINE_string("json", None, "File that takes the figures.")


def measure(name, folder, common):
    """One row: the ratio of every plan, and minutes of training.

    Args:
        name: Of `VARIANTS`.
        folder: Where the run folders go; the whole recipe is among them.
        common: Flags that every run gets.
    """
    from tfshrink.training.kept_run import start_of

    ingredient, own = VARIANTS[name]
    if name in FROM_START:
        whole = folder / WHOLE
        begins = start_of(whole, DEFAULTS["data"])
        own = [*own, *(f"--{name}={value}" for name, value in begins.items())]
    results = trained(folder / name, *common, *own)
    return {
        "variant": name,
        "ingredient": ingredient,
        "flags": " ".join(VARIANTS[name][1]),
        **{
            f"{row['name']} bits": row["perplexity_ratio"]
            for row in results["plans"]
        },
        "MB of the last": results["plans"][-1]["bytes"] / 1e6,
        "min": minutes(results),
    }


def main(arguments):
    """Measures and prints the figures."""
    from tfshrink.evaluation.results import origin
    from tfshrink.evaluation.table import print_table

    for name in FLAGS.variants:
        if name not in VARIANTS:
            raise unknown_choice("--variants", name, VARIANTS)
    folder, common = pathlib.Path(FLAGS.folder), shlex.split(FLAGS.flags)
    names = dict.fromkeys([WHOLE, *FLAGS.variants])
    rows = [measure(name, folder, common) for name in names]
    title = "Perplexity over that of full precision, one ingredient changed"
    ratios = [key for key in rows[0] if key.endswith(" bits")]
    formats = {**dict.fromkeys(ratios, ".3f"), "MB of the last": ".1f"}
    print_table(rows, title=title, formats={**formats, "min": ".1f"})
    if FLAGS.json:
        result = {"title": title, "rows": rows, **origin()}
        write_json(FLAGS.json, result)


if __name__ == "__main__":
    cli.run(main)
