#!/usr/bin/env python
"""tfshrink's side of evaluation; the peer is torch_evaluate.py.

Every row of the token file is a text of its own: T - 1 predictions a row.
Prints one line of JSON.

Examples:
  python benchmarks/ours/evaluate.py --weights=FOLDER --tokens=tokens.npy
  python benchmarks/ours/evaluate.py --weights=FOLDER --tokens=tokens.npy
      --dtype=float32
  python benchmarks/ours/evaluate.py --weights=FOLDER --tokens=tokens.npy
      --steps=4 --context=256
"""

import math

import numpy as np
import ours_common
from absl import flags

from tfshrink import cli

FLAGS = flags.FLAGS

ours_common.define_flags(context=512, steps=8)


def main(arguments):
    """Measures evaluation and prints the figures."""
    from tfshrink.evaluation.quality_meter import QualityMeter
    from tfshrink.models.load import load_model

    model = load_model(FLAGS.weights, dtype=FLAGS.dtype)
    score = QualityMeter(model).scorer()
    batches = ours_common.load_batches()[: FLAGS.steps]

    def nats(tokens):
        return float(np.sum(score(tokens)[0], dtype="float64"))

    for _ in range(FLAGS.warmup):
        nats(batches[0])
    total, seconds = 0.0, []
    for batch in batches:
        value, took = ours_common.timed(nats, batch)
        total += value
        seconds.append(took)
    predictions = batches[..., 1:].size
    ours_common.report(
        seconds,
        perplexity=math.exp(total / predictions),
        predictions=predictions,
    )


if __name__ == "__main__":
    cli.run(main)
