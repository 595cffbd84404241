#!/usr/bin/env python
"""tfshrink's side of one spnet step; the peer is torch_train_step.py.

Prints one line of JSON: `tokens_per_second` counts each token of the batch
once, although every plan reads it.

Examples:
  python benchmarks/ours/train_step.py --weights=FOLDER --tokens=tokens.npy
  python benchmarks/ours/train_step.py --weights=FOLDER --tokens=tokens.npy
      --dtype=float32
  python benchmarks/ours/train_step.py --weights=FOLDER --tokens=tokens.npy
      --bank=codes
"""

import dataclasses

import numpy as np
import ours_common
from absl import flags

from tfshrink import cli

FLAGS = flags.FLAGS
PLANS = "8;4;2"
RANKS = (16, 32, 64)

ours_common.define_flags(context=256, steps=5)
with cli.flag_group("Work"):
    flags.DEFINE_enum(
        "bank",
        "none",
        ["none", "codes"],
        "Round the weights in every forward pass, or keep integer codes.",
    )


def make_trainer():
    """The trainer of the step, from rounding to nearest."""
    from tfshrink.layers.precision_config import PrecisionConfig
    from tfshrink.models.load import load_model
    from tfshrink.models.sources import open_source
    from tfshrink.plan import parse_plans
    from tfshrink.training.initialisation import initialise
    from tfshrink.training.styles import spnet
    from tfshrink.training.trainer import Trainer

    source = open_source(FLAGS.weights)
    config = source.config
    plans = parse_plans(PLANS, layers=config.layers, tied=config.tied, group=0)
    outer = 1 if config.tied else 2
    # The peer leaves embedding and head as they are.
    plans = [
        dataclasses.replace(p, bits=p.bits[:-outer] + (32,) * outer)
        for p in plans
    ]
    widths = tuple(p.bits[0] for p in plans)
    precision = PrecisionConfig(
        widths=widths, group=0, ranks=RANKS, bank=FLAGS.bank
    )
    model = load_model(
        source, precision=precision, dtype=FLAGS.dtype, fit=False
    )
    initialise(model, None, method="rtn")
    shrink_two_bits(model)
    return Trainer(
        model,
        style=lambda step: spnet(step, plans, None),
        steps=FLAGS.warmup + FLAGS.steps,
        parts=("adapters",),
        rates={"adapters": 5e-4},
    )


def shrink_two_bits(model):
    """Makes the step at 2 bits the peer's: half the peak, not two thirds."""
    for block in model.blocks:
        for layer in sum(block.groups().values(), []):
            quantizer = layer.quantizer
            quantizer.set_scale(2, 0.75 * np.asarray(quantizer.scale(2)))
            if quantizer.bank is not None:
                quantizer.set_codes(2, quantizer.codes(layer.kernel, 2))


def main(arguments):
    """Measures the step and prints the figures."""
    trainer = make_trainer()
    batches = ours_common.load_batches()

    def batch_at(micro):
        tokens = batches[micro % len(batches)]
        return {"tokens": tokens, "mask": np.ones(tokens.shape, "float32")}

    results, seconds = [], []
    for step in range(FLAGS.warmup + FLAGS.steps):
        result, took = ours_common.timed(trainer.step, step, batch_at)
        results.append(result)
        seconds.append(took)
    ours_common.report(
        seconds[FLAGS.warmup :],
        warmup_seconds=seconds[: FLAGS.warmup],
        losses=[result["loss"] for result in results],
        first_losses=results[0]["losses"],
        traces=trainer.traces,
    )


if __name__ == "__main__":
    cli.run(main)
