"""What the benchmarks share: running each side alone, one table of all.

Every figure comes from a process of its own, one after the other, so that
no side waits for another and each has its own peak of memory.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from absl import flags
from hand_over import write_tokens
from hand_over import write_weights

from tfshrink import cli
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.evaluation.results import origin
from tfshrink.evaluation.table import print_table
from tfshrink.files import write_json

FLAGS = flags.FLAGS
HERE = pathlib.Path(__file__).parent
DTYPES = ("bfloat16", "float32")
# What a variant such as `bfloat16+compile` adds to its command.
OPTIONS = {
    "codes": ["--bank=codes"],
    "compile": ["--compile"],
    "cached": ["--cache_quantized"],
}
COLUMNS = {
    "side": "side",
    "variant": "variant",
    "tokens_per_second": "tokens/s",
    "ratio": "of the fastest peer",
    "seconds_per_step": "s a step",
    "seconds_spread": "spread s",
    "peak_rss_mb": "peak RSS MB",
}
FORMATS = {
    "tokens_per_second": ".0f",
    "ratio": ".2f",
    "seconds_per_step": ".3f",
    "seconds_spread": ".3f",
    "peak_rss_mb": ".0f",
}


def define_flags(*, ours, variants, context, steps):
    """Defines the flags of a benchmark that has peers.

    Args:
        ours: Default variants of tfshrink.
        variants: Default variants of the peer.
        context: Default tokens in a row.
        steps: Default measured steps.
    """
    cli.define_model_flags()
    with cli.flag_group("Sides"):
        flags.DEFINE_string(
            "peer_python",
            None,
            "Python of the peers' environment (see benchmarks/README.md).",
        )
        flags.DEFINE_list(
            "variants", variants, "Variants of the peer; empty is none."
        )
        flags.DEFINE_list("ours", ours, "Variants of tfshrink; empty is none.")
    with cli.flag_group("Work"):
        flags.DEFINE_string("data", "pydoc", "Text, of which the test split.")
        for name, default, text in (
            ("batch", 4, "Rows a step."),
            ("context", context, "Tokens a row."),
            ("steps", steps, "Measured steps."),
            ("warmup", 1, "Steps before them that do not count."),
        ):
            flags.DEFINE_integer(name, default, text, lower_bound=1)
    with cli.flag_group("Output"):
        flags.DEFINE_string("json", None, "File that takes the figures.")


def compare(ours, peer):
    """Runs every variant of both sides on the same weights and tokens.

    Args:
        ours: Script of tfshrink's side, below `benchmarks/`.
        peer: Script of the peer's.

    Returns:
        List of rows: what the scripts print, with `side`, `variant` and
        `ratio` to the fastest variant of the peer.

    Raises:
        UserError: An unknown variant, or a side that failed.
    """
    jobs = [
        (side, variant, [python, str(HERE / script), *_options(variant)])
        for side, script, python, variants in (
            ("tfshrink", ours, sys.executable, FLAGS.ours),
            ("PyTorch", peer, FLAGS.peer_python, FLAGS.variants),
        )
        for variant in variants
    ]
    if FLAGS.variants and not FLAGS.peer_python:
        raise UserError(
            "`--peer_python` must be the Python of the peers' environment "
            "(benchmarks/README.md makes one), or --variants= be empty. "
            "Received: None"
        )
    rows = []
    with _work() as common:
        for side, variant, command in jobs:
            figures = _step(command + common)
            rows.append({"side": side, "variant": variant, **figures})
            if FLAGS.json:  # what is measured is kept, whatever comes
                write_json(FLAGS.json, {"title": None, "rows": rows})
    speeds = [r["tokens_per_second"] for r in rows if r["side"] == "PyTorch"]
    for row in rows:
        row["ratio"] = (
            row["tokens_per_second"] / max(speeds) if speeds else None
        )
    return rows


def report(rows, title, extra=None):
    """Prints the table and writes `--json`.

    Args:
        rows: Of `compare`.
        title: Line above the table.
        extra: Further columns, key: heading; four digits each.
    """
    print_table(
        rows, {**COLUMNS, **(extra or {})}, title=title, formats=FORMATS
    )
    if FLAGS.json:
        result = {"title": title, "rows": rows, **origin()}
        write_json(FLAGS.json, result)


def _options(variant):
    dtype, *names = variant.split("+")
    if dtype not in DTYPES:
        raise unknown_choice("--variants", dtype, DTYPES)
    for name in names:
        if name not in OPTIONS:
            raise unknown_choice("--variants", name, OPTIONS)
    return [f"--dtype={dtype}", *sum((OPTIONS[name] for name in names), [])]


@contextlib.contextmanager
def _work():
    """Writes weights and tokens; yields the options that all sides get."""
    from tfshrink.models.sources import open_source

    source = open_source(FLAGS.model)
    with tempfile.TemporaryDirectory(prefix="tfshrink_benchmark_") as folder:
        tokens = os.path.join(folder, "tokens.npy")
        write_weights(source, folder)
        write_tokens(
            source,
            tokens,
            data=FLAGS.data,
            rows=FLAGS.batch * FLAGS.steps,
            context=FLAGS.context,
        )
        numbers = ("batch", "context", "steps", "warmup")
        yield [
            f"--weights={folder}",
            f"--tokens={tokens}",
            *(f"--{name}={FLAGS[name].value}" for name in numbers),
        ]


def _step(command):
    figures = run_side(command)
    print(f"  {figures['tokens_per_second']:.0f} tokens/s", file=sys.stderr)
    return figures


def run_side(command):
    """The figures that a script prints as its last line, JSON.

    Args:
        command: Python, the script, its options.

    Raises:
        UserError: The script failed; its last line says why.
    """
    print(_short(command), file=sys.stderr, flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        cause = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise UserError(f"{_short(command)} failed: {cause}")
    return json.loads(lines[-1])


def _short(command):
    """The command without what differs between machines."""
    hidden = "--weights", "--tokens", "--work", "--model", "--out"
    options = [o for o in command[2:] if not o.startswith(hidden)]
    return " ".join([os.path.basename(command[1]), *options])
