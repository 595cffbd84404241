"""Flags of bin/benchmark --suite=styles, and what they set off."""

import sys
import time

from absl import flags

from tfshrink import cli
from tfshrink.errors import UserError

FLAGS = flags.FLAGS


def define_flags():
    """Defines the flags of this suite alone."""
    with cli.flag_group("Suite styles"):
        flags.DEFINE_list("styles", None, "Training styles. See --list.")
        flags.DEFINE_list("seeds", ["0", "1", "2"], "One start for each.")
        flags.DEFINE_integer(
            "steps", 30, "Updates behind each model.", lower_bound=1
        )
        flags.DEFINE_string("plan", "8;4;2", "Plans, split by `;`.")
        flags.DEFINE_string(
            "config", None, "Further settings of all runs, as in configs/."
        )
        flags.DEFINE_string(
            "workdir", "runs/styles", "Where runs go; finished ones stay."
        )
        flags.DEFINE_bool("attack", True, "Attack each plan, too (FGSM).")
        flags.DEFINE_bool(
            "dry_run", False, "Run one step, say how long all would take."
        )


def run_suite():
    """Runs the suite that the flags describe."""
    from tfshrink.files import write_json
    from tfshrink.training.command import load_config
    from tfshrink.training.comparison.report import print_styles
    from tfshrink.training.comparison.style_run import DEFAULT
    from tfshrink.training.comparison.style_suite import StyleSuite

    names = ["model", "steps", "plan", "data", "limit", "workdir"]
    suite = StyleSuite(
        **{name: FLAGS[name].value for name in names},
        styles=FLAGS.styles or DEFAULT,
        seeds=seeds(FLAGS.seeds),
        config=load_config(FLAGS.config) if FLAGS.config else None,
    )
    if FLAGS.dry_run:
        from tfshrink.training.comparison.estimate import print_estimate

        return print_estimate(suite)
    start = time.monotonic()

    def note(results):
        if FLAGS.json:  # what is measured is kept, whatever comes
            write_json(FLAGS.json, results)
        print(
            f"{results['finished']} of {results['runs']} runs after "
            f"{(time.monotonic() - start) / 60:.0f} min",
            file=sys.stderr,
        )

    results = suite.run(speed=FLAGS.speed, attack=FLAGS.attack, on_results=note)
    print_styles(results, json=FLAGS.json, markdown=FLAGS.markdown)
    return None


def seeds(texts):
    """Integers of what was typed."""
    try:
        return [int(text) for text in texts]
    except ValueError:
        raise UserError(
            "`--seeds` must be integers such as 0,1,2. "
            f"Received: {','.join(texts)}"
        ) from None


def print_choices():
    """Prints what the flags take."""
    from tfshrink.training.comparison import report

    report.print_choices()
