#!/usr/bin/env python
"""Sets evaluation by tfshrink beside the same evaluation in PyTorch.

Perplexity of the full-precision model: every row is a text of its own. Both
sides read the same weights and tokens; each variant runs in a process of its
own, one after the other. The perplexities stand in the table.

Examples:
  python benchmarks/evaluate.py --peer_python=peer-venv/bin/python
  python benchmarks/evaluate.py --peer_python=peer-venv/bin/python
      --variants=bfloat16,bfloat16+compile --json=out/evaluate.json
  python benchmarks/evaluate.py --variants= --model=tiny --steps=2
"""

import comparison

from tfshrink import cli

comparison.define_flags(
    ours=["bfloat16", "float32"],
    variants=["bfloat16", "bfloat16+compile", "float32", "float32+compile"],
    context=512,
    steps=8,
)


def main(arguments):
    """Runs both sides and prints the table."""
    rows = comparison.compare("ours/evaluate.py", "peers/torch_evaluate.py")
    comparison.report(
        rows,
        "Perplexity of the full-precision model",
        {"perplexity": "perplexity"},
    )


if __name__ == "__main__":
    cli.run(main)
