#!/usr/bin/env python
r"""Sets a model trained with exits beside one trained without, from scratch.

Both learned the same text for as many updates. Policies are chosen on rows of
the search split: the fewest blocks a token whose perplexity is at most so much
above the baseline's. They are judged on the test split, each token by the
distribution of the exit it leaves at, and timed on greedy text, one sequence at
a time.

Examples:
  bin/train --model=ultra --style=spnet --workdir=runs/baseline
      && bin/train --model=ultra --style=early_exit --exits=2,3,4,6
      --workdir=runs/exits && python benchmarks/exit_baseline.py
      --workdir=runs/exits --baseline=runs/baseline
  python benchmarks/exit_baseline.py --workdir=runs/exits
      --baseline=runs/baseline --loss=.01,.02,.05 --json=out/ultra.json
  python benchmarks/exit_baseline.py --workdir=runs/exits
      --baseline=runs/baseline --rows=16 --nospeed
"""

import dataclasses
import itertools
import pathlib

import numpy as np
from absl import flags

from tfshrink import cli
from tfshrink.errors import UserError
from tfshrink.evaluation.environment import environment
from tfshrink.evaluation.table import markdown_table
from tfshrink.evaluation.table import print_table
from tfshrink.files import write_json

FLAGS = flags.FLAGS
PROMPT = 64  # tokens in front of what is timed
POINTS = 24  # thresholds that are tried, at equal shares of tokens
COLUMNS = (
    "exit",
    "perplexity",
    "to_baseline",
    "layers",
    "fewer_layers",
    "weights_read",
    "agreement",
    "tokens_per_second",
    "speedup",
)
FORMATS = {
    "perplexity": ".2f",
    "to_baseline": ".3f",
    "layers": ".2f",
    "fewer_layers": ".2f",
    "weights_read": ".3f",
    "agreement": ".1%",
    "tokens_per_second": ".0f",
    "speedup": ".2f",
}

with cli.flag_group("Sides"):
    flags.DEFINE_string("workdir", None, "Run with exits.", required=True)
    flags.DEFINE_string("baseline", None, "Run without.", required=True)
with cli.flag_group("Work"):
    flags.DEFINE_string("data", "pydoc", "Text, its search and test splits.")
    flags.DEFINE_integer("rows", 128, "Rows of each, at most.", lower_bound=1)
    flags.DEFINE_integer("context", 256, "Tokens of a row.", lower_bound=16)
    flags.DEFINE_list(
        "loss", [".0", ".01", ".02", ".05"], "Perplexity above the baseline's."
    )
    flags.DEFINE_bool("speed", True, "Whether generation is timed.")
    flags.DEFINE_integer("new_tokens", 64, "Of generation.", lower_bound=1)
with cli.flag_group("Output"):
    flags.DEFINE_string("json", None, "File that takes the figures.")


def opened(workdir, exits):
    """`OpenExits` of a finished run, with or without exits."""
    from tfshrink.evaluation.candidate import run_candidates
    from tfshrink.exits.study import ExitSubject
    from tfshrink.exits.study import OpenExits
    from tfshrink.structure import plan_tensor

    subject = ExitSubject(
        workdir=workdir,
        data=FLAGS.data,
        prompts=FLAGS.rows,
        tokens=FLAGS.context,
        new=FLAGS.new_tokens,
    )
    if exits:
        return subject.open()
    (candidate,) = run_candidates([workdir])
    model, plan = candidate.load(subject.dtype), candidate.plans[0]
    if model.exits is not None:
        raise UserError(
            f"`--baseline` must be a run without exits. Received: {workdir}"
        )
    bits = plan_tensor(candidate.source.config, plan)
    return OpenExits(subject, candidate.source, model, plan, bits)


def check_pair(own, base):
    """Raises a `UserError` where two runs cannot be compared."""
    from tfshrink.models.sources.scratch import TOKENIZER

    texts = []
    for side in (own, base):
        path = pathlib.Path(side.subject.workdir) / TOKENIZER
        texts.append(path.read_bytes() if path.exists() else b"")
    if not all(texts) or texts[0] != texts[1]:
        raise UserError(
            "`--baseline` must be a run from scratch with the tokenizer of "
            f"--workdir: learned from the same text. Received: {FLAGS.baseline}"
        )


def nats_of(own, prompts):
    """Nats a token of a run without exits along rows of text."""
    from tfshrink.data.examples import Examples
    from tfshrink.evaluation.quality_meter import QualityMeter

    mask = prompts.mask.astype("float32")
    mask[:, 0] = 0.0
    examples = Examples(prompts.tokens, mask)
    meter = QualityMeter(own.model, examples, batch_size=4)
    return meter.measure(own.bits)["nats_per_token"]


def traced(own, prompts):
    """`ExitTrace` of rows of text: all their tokens but the first count."""
    from tfshrink.exits.trace import trace_rows

    ones = np.ones(len(prompts), "int32")
    return trace_rows(
        own.model, prompts.tokens, ones, prompts.lengths, bits=own.bits
    )


def policies(trace):
    """Yields an `ExitSpec` for each choice of exits, confidence, threshold."""
    from tfshrink.exit_spec import ExitSpec
    from tfshrink.ops.confidence import OF_LOGITS

    layers = trace.layers
    choices = [
        own
        for size in (1, 2, len(layers))
        for own in itertools.combinations(layers, size)
    ]
    for name, own in itertools.product(
        sorted(OF_LOGITS), dict.fromkeys(choices)
    ):
        places = [layers.index(layer) for layer in own]
        values = trace.confidence[name][places][:, trace.made]
        limits = np.quantile(values, np.linspace(0.0, 0.95, POINTS))
        for limit in np.unique(limits.clip(0.0, 0.9999).round(4)):
            yield ExitSpec(confidence=name, thresholds=(limit,), layers=own)


def judged(trace, spec, cost):
    """Blocks, weights and perplexity of a policy along a trace."""
    from tfshrink.exits.choice import summary

    found = summary(trace, spec, cost)
    last = np.exp(trace.last_nats[trace.made].mean())
    found["perplexity"] = float(found["perplexity_ratio"] * last)
    found["fewer_layers"] = trace.depth / found["layers"]
    return found


def chosen(trace, cost, baseline, losses):
    """The policy of the fewest blocks for each loss, `None` where none is.

    Args:
        trace: `ExitTrace` of the search split.
        cost: `ExitCost`.
        baseline: Perplexity of the baseline there.
        losses: Fractions above it.
    """
    rows = [(judged(trace, s, cost), s) for s in policies(trace)]
    found = []
    for loss in losses:
        limit = baseline * (1.0 + loss)
        good = [pair for pair in rows if pair[0]["perplexity"] <= limit]
        best = min(good, key=lambda pair: pair[0]["layers"], default=None)
        found.append(best and best[1])
    return found


def speeds(own, base, specs):
    """Tokens/s of the baseline, of all blocks, and of each policy."""
    from tfshrink.exits.study import timed

    sides = [(base, None), *((own, spec) for spec in specs)]
    length = min(PROMPT, FLAGS.context)
    texts = dataclasses.replace(base.subject, tokens=length)
    prompts = dataclasses.replace(base, subject=texts).prompts("test", 8)
    return [
        timed(side, prompts, spec, FLAGS.new_tokens)["tokens_per_second"]
        for side, spec in sides
    ]


def main(arguments):
    """Chooses, judges and prints the table."""
    from tfshrink.exits.choice import ExitCost

    try:
        losses = [float(text) for text in FLAGS.loss]
    except ValueError:
        raise UserError(
            f"`--loss` must be fractions. Received: {','.join(FLAGS.loss)}"
        ) from None
    own, base = opened(FLAGS.workdir, True), opened(FLAGS.baseline, False)
    check_pair(own, base)
    cost = ExitCost.of(own.model)
    search, test = own.prompts("search"), own.prompts("test")
    limit = float(np.exp(nats_of(base, search)))
    specs = chosen(traced(own, search), cost, limit, losses)
    trace, first = traced(own, test), float(np.exp(nats_of(base, test)))
    depth = trace.depth
    last = float(np.exp(trace.last_nats[trace.made].mean()))
    rows = [
        {"exit": "baseline", "perplexity": first, "layers": depth},
        {"exit": "none", "perplexity": last, "layers": depth},
    ]
    used = [spec for spec in dict.fromkeys(specs) if spec is not None]
    rows += [judged(trace, spec, cost) for spec in used]
    for row in rows:
        row["to_baseline"] = row["perplexity"] / first
        row.setdefault("fewer_layers", depth / row["layers"])
    if FLAGS.speed:
        found = speeds(own, base, [None, *used])
        for row, speed in zip(rows, found, strict=True):
            row["tokens_per_second"] = speed
            row["speedup"] = speed / found[0]
    title = (
        f"Exits beside a baseline: {trace.made.sum():,} tokens of "
        f"{FLAGS.data} (test), {len(test)} rows of {FLAGS.context}"
    )
    shown = [{name: row.get(name) for name in COLUMNS} for row in rows]
    print_table(shown, title=title, formats=FORMATS)
    print(markdown_table(shown, formats=FORMATS))
    for loss, spec in zip(losses, specs, strict=True):
        print(f"At most {loss:.0%} above the baseline: {spec or 'no policy'}")
    if FLAGS.json:
        wanted = [spec and str(spec) for spec in specs]
        result = {
            "title": title,
            "losses": dict(zip(map(str, losses), wanted, strict=True)),
            "rows": rows,
            "environment": environment(),
        }
        write_json(FLAGS.json, result)


if __name__ == "__main__":
    cli.run(main)
