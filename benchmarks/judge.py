#!/usr/bin/env python
"""Times the judging of one plan beside the forward pass it needs anyway.

All properties of the default requirement are measured on the same prompts as a
bare forward pass with the same weights; then the same plan is judged by a model
that is built anew for it, as the seeds' systems do, and single changes are
judged from the block on that they change.

Examples:
  python benchmarks/judge.py --workdir=runs/spnet-1
  python benchmarks/judge.py --model=smollm2-135m --plan="8;stripe-8-4"
  python benchmarks/judge.py --model=tiny --group=32 --repeats=3 --json=out.json
"""

import dataclasses
import statistics
import time

import numpy as np
from absl import flags

from tfshrink import cli
from tfshrink.search import flags as shared

FLAGS = flags.FLAGS

shared.define_subject_flags()
cli.define_plan_flag("8;stripe-8-4;4")
with cli.flag_group("Work"):
    flags.DEFINE_integer("repeats", 7, "Measured calls.", lower_bound=1)
    flags.DEFINE_integer("rebuilds", 1, "Models built anew.", lower_bound=1)
with cli.flag_group("Output"):
    flags.DEFINE_string("json", None, "File that takes the figures.")


def main(arguments):
    """Measures and prints one row a plan."""
    from tfshrink.evaluation.results import origin
    from tfshrink.evaluation.table import print_table
    from tfshrink.files import write_json

    subject = shared.subject_of_flags()
    evaluator = subject.evaluator(subject.candidate(FLAGS.plan))
    rows = [row(subject, evaluator, plan) for plan in evaluator.candidate.plans]
    print_table(rows, title=f"{len(evaluator.prompts)} prompts")
    if FLAGS.json:
        write_json(FLAGS.json, {"rows": rows, **origin()})


def row(subject, evaluator, plan):
    """Seconds of one plan, judged, run, rebuilt, and changed in one group."""
    from tfshrink.structure import plan_tensor

    bits = plan_tensor(evaluator.config, plan)
    judge = evaluator.judge

    def judged():
        found = judge.measure(bits)
        evaluator.requirement.margins(found.signals, found.lengths)

    own, bare = alternating(judged, lambda: forward(judge, bits))
    judge.keep(bits)
    whole = 16 * np.ones_like(bits)
    changes = []
    for index in range(0, len(bits), 7):
        changed = bits.copy()
        changed[index] = whole[index]
        changes.append((changed, seconds(lambda c=changed: judge.measure(c))))
    changes = [
        seconds(lambda c=changed: judge.measure(c)) for changed, _ in changes
    ]
    judge.look_at(evaluator.prompts, evaluator.reference)
    return {
        "plan": plan.name,
        "judged, s": own,
        "forward, s": bare,
        "judged / forward": own / bare,
        "single change, s": statistics.mean(changes),
        "whole / change": own / statistics.mean(changes),
        "rebuilt, s": rebuilt(subject, evaluator, plan, bits),
    }


def alternating(first, second):
    """Median seconds of two functions that take turns, after one call each."""
    first(), second()
    pairs = [(seconds(first), seconds(second)) for _ in range(FLAGS.repeats)]
    return [statistics.median(own) for own in zip(*pairs, strict=True)]


def seconds(function):
    """Seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def forward(judge, bits):
    """Logits of all tokens, nothing compared."""
    from keras import ops

    run = judge.forward
    x = run.embed(judge.prompts.tokens, bits)
    for index in range(len(judge.model.blocks)):
        x = run.block(index, x, bits)
    hidden, head = run.finish(x, bits), run.head(bits)
    rows = ops.reshape(hidden, (-1, hidden.shape[-1]))
    for start in range(0, rows.shape[0], 256):
        logits = ops.matmul(rows[start : start + 256], head)
    np.asarray(logits[-1, -1])


def rebuilt(subject, evaluator, plan, bits):
    """Seconds of the same judgement by a model that is built for it."""
    from tfshrink.stl.plan_judge import PlanJudge

    def once():
        own = dataclasses.replace(evaluator.candidate, plans=[plan])
        model = own.load(subject.dtype)
        judge = PlanJudge(model, evaluator.prompts, evaluator.reference)
        judge.measure(bits)

    times = [seconds(once) for _ in range(FLAGS.rebuilds)]
    return statistics.median(times)


if __name__ == "__main__":
    cli.run(main)
