#!/usr/bin/env python
r"""Sets exit policies of a run beside the full model, and PyTorch's.

Greedy text behind the same prompts, one at a time, on the wall clock, prompts
included. Agreement is with the full model along its own text. The peer is
`transformers`: plain, and drafting behind a block with the model's own head
(`assistant_early_exit`), which needs no training. Each variant runs in a
process of its own, one after the other; speeds are to the first of each side.

Examples:
  python benchmarks/early_exit.py --workdir=runs/early_exit-1
      --peer_python=peer-venv/bin/python
  python benchmarks/early_exit.py --workdir=runs/early_exit-1 --variants=
      --ours=bfloat16+none,bfloat16+classifier:.9:layers=12
  python benchmarks/early_exit.py --workdir=runs/early_exit-1 --variants=
      --steps=20 --new_tokens=32
"""

import comparison
from absl import flags

from tfshrink import cli
from tfshrink.errors import UserError

FLAGS = flags.FLAGS
NONE = "none"
OURS = (NONE, "classifier:.9", "classifier:.6:layers=6:missing=verify")
DRAFTS = (6, 12)  # blocks behind which the peer drafts

comparison.define_flags(
    ours=[f"bfloat16+{name}" for name in OURS],
    variants=["bfloat16+plain", *(f"bfloat16+draft{n}" for n in DRAFTS)],
    context=64,
    steps=100,
)
FLAGS["batch"].default = FLAGS["batch"].value = 1
with cli.flag_group("Exits"):
    flags.DEFINE_string("workdir", None, "Run with exits.", required=True)
    flags.DEFINE_integer("new_tokens", 64, "Tokens of each.", lower_bound=1)


def main(arguments):
    """Runs all variants and prints the table."""
    from tfshrink.models.run import read_run

    model = read_run(FLAGS.workdir)[0]["model"]
    if FLAGS["model"].present and FLAGS.model != model:
        raise UserError(
            f"`--model` must be that of the run, {model}. "
            f"Received: {FLAGS.model}"
        )
    FLAGS.model = model
    new = f"--new_tokens={FLAGS.new_tokens}"
    for variant in FLAGS.ours:
        name = variant.partition("+")[2]
        own = [f"--workdir={FLAGS.workdir}", new]
        if name != NONE:
            own.append(f"--exit={name}")
        comparison.OPTIONS[name] = own
    for variant in FLAGS.variants:
        name = variant.partition("+")[2]
        block = name.removeprefix("draft")
        own = [f"--early_exit={block}"] if block != name else []
        comparison.OPTIONS[name] = [*own, new]
    rows = comparison.compare("ours/early_exit.py", "peers/torch_early_exit.py")
    first = {}
    for row in rows:
        own = first.setdefault(row["side"], row)
        row["speedup"] = row["tokens_per_second"] / own["tokens_per_second"]
    comparison.report(
        rows,
        f"Early exit, {FLAGS.steps} prompts, {FLAGS.new_tokens} tokens each",
        {
            "speedup": "to the full model",
            "agreement": "agreement",
            "same_text": "same text",
            "layers": "layers",
            "weights_read": "weights read",
        },
    )


if __name__ == "__main__":
    cli.run(main)
