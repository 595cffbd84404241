"""What tfshrink's sides of the benchmarks share: flags, input, report."""

import json
import statistics
import time

import numpy as np
from absl import flags

from tfshrink import cli
from tfshrink.evaluation.environment import environment
from tfshrink.evaluation.memory import peak_memory

FLAGS = flags.FLAGS


def define_flags(*, context, steps):
    """Defines the flags that every side of a benchmark has."""
    with cli.flag_group("Input"):
        flags.DEFINE_string(
            "weights", None, "Folder: config.json, safetensors.", required=True
        )
        flags.DEFINE_string(
            "tokens", None, "int32 .npy file of shape (N, T).", required=True
        )
    with cli.flag_group("Work"):
        flags.DEFINE_enum(
            "dtype", "bfloat16", ["bfloat16", "float32"], "Compute type."
        )
        for name, default, text in (
            ("batch", 4, "Rows a step."),
            ("context", context, "Tokens a row."),
            ("steps", steps, "Measured steps."),
            ("warmup", 1, "Steps before them that do not count."),
        ):
            flags.DEFINE_integer(name, default, text, lower_bound=1)


def load_batches():
    """The tokens as batches `(N // B, B, context)`."""
    tokens = np.load(FLAGS.tokens, allow_pickle=False)
    count = len(tokens) // FLAGS.batch
    tokens = tokens[: count * FLAGS.batch, : FLAGS.context]
    return tokens.reshape(count, FLAGS.batch, FLAGS.context)


def timed(function, *arguments):
    """Returns the result of a call and how many seconds it took."""
    start = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - start


def report(seconds, **figures):
    """Prints one JSON line with the keys of the peers' lines."""
    median = statistics.median(seconds)
    line = {
        "tokens_per_second": FLAGS.batch * FLAGS.context / median,
        "seconds_per_step": median,
        "seconds_spread": max(seconds) - min(seconds),
        "seconds": seconds,
        "peak_rss_mb": peak_memory()["host_mb"],
        **figures,
        "versions": environment()["versions"],
    }
    print(json.dumps(line), flush=True)
