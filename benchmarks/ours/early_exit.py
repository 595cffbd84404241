#!/usr/bin/env python
"""tfshrink's side of early exit; the peer is torch_early_exit.py.

Every row of the token file is a prompt. Prints one line of JSON.

Examples:
  python benchmarks/ours/early_exit.py --weights=FOLDER --tokens=tokens.npy
      --workdir=runs/early_exit-1
  python benchmarks/ours/early_exit.py --weights=FOLDER --tokens=tokens.npy
      --workdir=runs/early_exit-1 --exit=classifier:.9
  python benchmarks/ours/early_exit.py --weights=FOLDER --tokens=tokens.npy
      --workdir=runs/early_exit-1 --exit=margin:.8:layers=12:missing=verify
"""

import numpy as np
import ours_common
from absl import flags

from tfshrink import cli

FLAGS = flags.FLAGS

ours_common.define_flags(context=64, steps=100)
with cli.flag_group("Work"):
    flags.DEFINE_string("workdir", None, "Run with exits.", required=True)
    flags.DEFINE_string("exit", None, "Exit policy; none is the full model.")
    flags.DEFINE_integer("new_tokens", 64, "Tokens of each.", lower_bound=1)


def main(arguments):
    """Measures a policy and prints the figures."""
    from tfshrink.exit_spec import ExitSpec
    from tfshrink.exits.choice import ExitCost
    from tfshrink.exits.choice import summary
    from tfshrink.exits.followed import followed
    from tfshrink.exits.followed import needs_following
    from tfshrink.exits.study import ExitSubject
    from tfshrink.exits.study import same_text
    from tfshrink.exits.trace import trace_generated
    from tfshrink.models.generation import Generator

    new = FLAGS.new_tokens
    subject = ExitSubject(workdir=FLAGS.workdir, new=new, dtype=FLAGS.dtype)
    own = subject.open()
    prompts = own.given(ours_common.load_batches()[: FLAGS.steps, 0])
    spec = ExitSpec.parse(FLAGS.exit) if FLAGS.exit else None
    figures = {"agreement": 1.0, "same_text": 1.0, "weights_read": 1.0}
    generator = Generator(
        own.model, bits=own.bits, exits=spec, chunk=new, frozen=True
    )

    def made(row):
        rows = generator.generate([row], max_new_tokens=new, temperature=0.0)
        return rows[0], generator.depths[0]

    lists = prompts.tokens.tolist()
    made(lists[0])  # compiles
    results, seconds = [], []
    for row in lists:
        found, took = ours_common.timed(made, row)
        results.append(found)
        seconds.append(took)
    if spec is not None:
        trace, rows = trace_generated(own.model, prompts, new, bits=own.bits)
        known = None
        if needs_following(spec):
            known = followed(own, prompts, rows, trace, spec, new)
        whole = summary(trace, spec, ExitCost.of(own.model), new, known)
        figures = {name: whole[name] for name in figures if name in whole}
        # One at a time, too: a batch rounds otherwise.
        plain = Generator(own.model, bits=own.bits, chunk=new, frozen=True)
        full = [
            plain.generate([row], max_new_tokens=new, temperature=0.0)[0]
            for row in lists
        ]
        figures["same_text"] = same_text([text for text, _ in results], full)
    count = sum(len(text) for text, _ in results)
    depths = np.concatenate([depth for _, depth in results])
    ours_common.report(
        seconds,
        tokens_per_second=count / sum(seconds),
        layers=float(depths.mean()),
        **figures,
    )


if __name__ == "__main__":
    cli.run(main)
