#!/usr/bin/env python
r"""Sets codecs of the K/V cache beside those of transformers, and KIVI's.

Perplexity of the same text read through each cache, 64 tokens at a time, and
the bytes a text's cache has at its end. Both sides read the same weights and
tokens; each variant runs in a process of its own, one after the other. Ratios
are to the exact cache of the same side.

Examples:
  python benchmarks/kv_cache.py --peer_python=peer-venv/bin/python
  python benchmarks/kv_cache.py --peer_python=peer-venv/bin/python \
      --ours=bfloat16+identity,bfloat16+pca:6x --steps=4
  python benchmarks/kv_cache.py --variants= --model=tiny --context=256 --batch=1
"""

import re

import comparison
from absl import flags

from tfshrink import cli

FLAGS = flags.FLAGS
PEERS = ("exact", "quanto4", "quanto2", "hqq4", "hqq2", "kivi4", "kivi2")
OURS = (
    "identity",
    "int4",
    "int2",
    "dct:3x",
    "dct:4x",
    "dct:6x",
    "pswf:4x",
    "pca:4x",
    "pca:6x",
    "pca:8x",
    "pca:4x:rotated=true",
    "pca:6x:rotated=true",
    "pca:8x:rotated=true",
)

comparison.define_flags(
    ours=[f"bfloat16+{name}" for name in OURS],
    variants=[f"bfloat16+{name}" for name in PEERS],
    context=2048,
    steps=8,
)
FLAGS["batch"].default = FLAGS["batch"].value = 2
with cli.flag_group("Work"):
    flags.DEFINE_integer("first", None, "Token from which they count. Half.")
with cli.flag_group("Output"):
    flags.DEFINE_string("plot", None, "Figure: perplexity over bytes.")


def main(arguments):
    """Runs both sides and prints the table."""
    first = f"--first={FLAGS.first or FLAGS.context // 2}"
    for name in PEERS:
        comparison.OPTIONS[name] = [f"--cache={name}", first]
    for variant in FLAGS.ours:
        name = variant.partition("+")[2]
        # A calibration is of a model by its name, not of a copy.
        comparison.OPTIONS[name] = [
            f"--kv={name}",
            f"--source={FLAGS.model}",
            first,
        ]
    rows = comparison.compare("ours/kv_cache.py", "peers/torch_kv_cache.py")
    with_ratios(rows)
    comparison.report(
        rows,
        "K/V caches",
        {
            "kv_mb": "K/V MB",
            "smaller": "smaller",
            "perplexity": "perplexity",
            "perplexity_ratio": "to exact",
        },
    )

    if FLAGS.plot:
        from tfshrink.report.kv_plot import draw_kv

        title = f"{FLAGS.model}, {FLAGS.data}, context {FLAGS.context}"
        draw_kv([*points(rows)], FLAGS.plot, title=title)


def points(rows):
    """What the figure shows of all rows but the exact ones."""
    for row in rows:
        if row["smaller"] > 1.0:
            name = row["variant"].partition("+")[2]
            family = name.replace(":rotated=true", " after RoPE")
            family = re.sub(r":[\d.]+x", "", family).rstrip("0123456789")
            side = "" if row["side"] == "tfshrink" else " (PyTorch)"
            yield {
                "family": family + side,
                "smaller": row["smaller"],
                "ratio": row["perplexity_ratio"],
            }


def with_ratios(rows):
    """Adds what each cache is relative to its side's first, exact one."""
    exact = {}
    for row in rows:
        own = exact.setdefault(row["side"], row)
        row["kv_mb"] = row["kv_bytes"] / 1e6
        row["smaller"] = own["kv_bytes"] / row["kv_bytes"]
        row["perplexity_ratio"] = row["perplexity"] / own["perplexity"]


if __name__ == "__main__":
    cli.run(main)
