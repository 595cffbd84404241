#!/usr/bin/env python
"""Measures what changing the plan between two calls costs.

A plan enters the compiled function as an argument. Calls with one plan and
calls that change it take turns; the switch is what it takes to turn the plan
into that argument, and `changed - same` what it adds to a whole call (noise
of a call included). Nothing is traced anew: `traces` stays 1.

Examples:
  python benchmarks/plan_switch.py
  python benchmarks/plan_switch.py --model=tiny --calls=200
  python benchmarks/plan_switch.py --plans="8;stripe-8-4;2" --json=out/s.json
"""

import itertools
import statistics
import time

import numpy as np
from absl import flags

from tfshrink import cli
from tfshrink.files import write_json

FLAGS = flags.FLAGS

cli.define_model_flags()
with cli.flag_group("Work"):
    flags.DEFINE_string("plans", "8;4;stripe-8-4;2", "Plans, split by `;`.")
    flags.DEFINE_integer("calls", 50, "Measured pairs.", lower_bound=2)
    flags.DEFINE_integer("context", 8, "Tokens in a call.", lower_bound=1)
with cli.flag_group("Output"):
    flags.DEFINE_string("json", None, "File that takes the figures.")


def seconds(function, *arguments):
    """How many seconds a call takes."""
    start = time.perf_counter()
    np.asarray(function(*arguments))
    return time.perf_counter() - start


def measure(model, plans, *, calls, context):
    """Times calls of a model with and without a change of plan.

    Args:
        model: Built `Decoder` with a `PrecisionConfig`.
        plans: Plans to switch between.
        calls: Measured pairs of calls.
        context: Tokens in a call.

    Returns:
        A dict of `switch_ms`, `same_ms`, `changed_ms`, `difference_ms`
        (medians) and `traces`.
    """
    from keras import ops

    from tfshrink import backend

    run = backend.Compiled(model.hidden, model.variables)
    tokens = np.ones((1, context), "int32")

    def bits_of(plan):
        return ops.convert_to_tensor(np.asarray(plan.bits, "int32"))

    for plan in plans:
        np.asarray(run(tokens, bits_of(plan)))
    switch, same, changed = [], [], []
    for plan in itertools.islice(itertools.cycle(plans), calls):
        switch.append(seconds(bits_of, plan))
        changed.append(seconds(lambda p: run(tokens, bits_of(p)), plan))
        bits = bits_of(plan)
        same.append(seconds(run, tokens, bits))
    figures = {"switch": switch, "same": same, "changed": changed}
    row = {f"{k}_ms": 1e3 * statistics.median(v) for k, v in figures.items()}
    row["difference_ms"] = row["changed_ms"] - row["same_ms"]
    return {**row, "calls": calls, "traces": run.traces}


def main(arguments):
    """Measures and prints the figures."""
    from tfshrink.evaluation.table import print_table
    from tfshrink.layers.precision_config import PrecisionConfig
    from tfshrink.models.load import load_model
    from tfshrink.models.sources import open_source
    from tfshrink.plan import parse_plans

    source = open_source(FLAGS.model)
    config = source.config
    precision = PrecisionConfig(group=0)
    model = load_model(source, precision=precision, fit=False)
    plans = parse_plans(
        FLAGS.plans, layers=config.layers, tied=config.tied, group=0
    )
    row = measure(model, plans, calls=FLAGS.calls, context=FLAGS.context)
    row = {"model": FLAGS.model, "plans": len(plans), **row}
    print_table([row], title="Changing the plan between two calls")
    if FLAGS.json:
        write_json(FLAGS.json, row)


if __name__ == "__main__":
    cli.run(main)
