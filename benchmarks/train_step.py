#!/usr/bin/env python
"""Sets a training step of tfshrink beside the same step in PyTorch.

One spnet step: plans 8, 4 and 2, one scale an output channel, LoRA ranks 16,
32 and 64, the mean KL divergence to the full-precision model, one update.
Weights, tokens, plans and loss are the same; each variant runs in a process
of its own, one after the other. The first losses stand in the table: both
sides start from rounding to nearest, so they must agree.

`bfloat16` of tfshrink rounds the weights in every forward pass, as the peer
does; `+codes` keeps integer codes instead (`+cached` is that of the peer).

Examples:
  python benchmarks/train_step.py --peer_python=peer-venv/bin/python
  python benchmarks/train_step.py --peer_python=peer-venv/bin/python
      --variants=bfloat16+compile --json=out/train_step.json
  python benchmarks/train_step.py --variants= --model=tiny --steps=2
"""

import comparison

from tfshrink import cli

comparison.define_flags(
    ours=["bfloat16", "bfloat16+codes", "float32"],
    variants=[
        "bfloat16",
        "bfloat16+compile",
        "bfloat16+compile+cached",
        "float32",
        "float32+compile",
    ],
    context=256,
    steps=5,
)


def main(arguments):
    """Runs both sides and prints the table."""
    rows = comparison.compare("ours/train_step.py", "peers/torch_train_step.py")
    for row in rows:
        row["first_loss"] = row["losses"][0]
    comparison.report(
        rows,
        "One spnet step, plans 8;4;2 per channel",
        {"first_loss": "first loss"},
    )


if __name__ == "__main__":
    cli.run(main)
