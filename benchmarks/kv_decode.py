#!/usr/bin/env python
r"""Decoding behind a long context: exact K/V cache and coded ones side by side.

Milliseconds a token behind a full cache, and what the process holds (RSS)
beside the bytes that the cache should have. Each variant runs in a process of
its own, one after the other; ratios are to the first one.

Examples:
  python benchmarks/kv_decode.py --context=1024
  python benchmarks/kv_decode.py --context=4096 --batch=8
  python benchmarks/kv_decode.py --ours=bfloat16+identity,bfloat16+int4
"""

import comparison
from absl import flags

from tfshrink import cli

FLAGS = flags.FLAGS
OURS = (
    "identity",
    "int8",
    "int4",
    "pca:4x:rotated=true",
    "pca:6x:rotated=true",
)

comparison.define_flags(
    ours=[f"bfloat16+{name}" for name in OURS],
    variants=[],
    context=4096,
    steps=1,
)
FLAGS["batch"].default = FLAGS["batch"].value = 1
with cli.flag_group("Work"):
    flags.DEFINE_integer("calls", 6, "Measured calls of 16 tokens.")


def main(arguments):
    """Runs all variants and prints the table."""
    for variant in FLAGS.ours:
        name = variant.partition("+")[2]
        # A calibration is of a model by its name, not of a copy.
        comparison.OPTIONS[name] = [
            f"--kv={name}",
            f"--source={FLAGS.model}",
            f"--calls={FLAGS.calls}",
        ]
    rows = comparison.compare("ours/kv_decode.py", None)
    for row in rows:
        row["speed"] = row["tokens_per_second"] / rows[0]["tokens_per_second"]
        row["ms"] = 1e3 * row["seconds_per_step"]
        row["saved_mb"] = rows[0]["rss_mb"] - row["rss_mb"]
        row["predicted_mb"] = rows[0]["kv_mb"] - row["kv_mb"]
    comparison.report(
        rows,
        f"Decoding, batch {FLAGS.batch}, {FLAGS.context} tokens of context",
        {
            "ms": "ms a token",
            "speed": "to the first",
            "kv_mb": "K/V MB",
            "rss_mb": "RSS MB",
            "saved_mb": "RSS saved MB",
            "predicted_mb": "predicted MB",
        },
    )


if __name__ == "__main__":
    cli.run(main)
