#!/usr/bin/env python
"""Sets robustness of STL formulas beside rtamt and stlcgpp.

All sides read one file of traces and judge a nested formula at every sample;
their values must agree. Then our time over the length of a trace, up to 65,536.

Examples:
  python benchmarks/stl.py --peer_python=peer-venv/bin/python
  python benchmarks/stl.py --lengths=1024,4096 --repeats=5
  python benchmarks/stl.py --peer_python=... --json=out/stl.json
"""

import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np
from absl import flags

from tfshrink import cli
from tfshrink.errors import UserError
from tfshrink.evaluation.results import origin
from tfshrink.evaluation.table import print_table
from tfshrink.files import write_json
from tfshrink.stl.parse import parse
from tfshrink.stl.robustness import Robustness

FLAGS = flags.FLAGS
HERE = pathlib.Path(__file__).parent
NESTED = (
    "always[0:31](eventually[0:8](a >= 0.5) and b <= 0.5) and "
    "eventually[4:64](always[0:15](b >= -0.5))"
)
COLUMNS = {
    "side": "side",
    "traces": "traces",
    "samples": "samples",
    "ms": "ms",
    "times": "times ours",
    "error": "largest difference",
}
FORMATS = {"ms": ".3g", "times": ".1f", "error": ".1e"}

with cli.flag_group("Sides"):
    flags.DEFINE_string(
        "peer_python", None, "Python with rtamt and stlcgpp, to run both."
    )
with cli.flag_group("Work"):
    flags.DEFINE_integer("traces", 256, "Traces at once.", lower_bound=1)
    flags.DEFINE_integer("samples", 1024, "Samples a trace.", lower_bound=128)
    flags.DEFINE_list(
        "lengths", [1024, 4096, 16384, 65536], "Of 16 traces, ours alone."
    )
    flags.DEFINE_integer("repeats", 20, "Measured calls.", lower_bound=1)
with cli.flag_group("Output"):
    flags.DEFINE_string("json", None, "File that takes the figures.")


def main(arguments):
    """Runs all sides and prints two tables."""
    random = np.random.default_rng(0)
    margin = Robustness(parse(NESTED))
    with tempfile.TemporaryDirectory() as folder:
        rows = compared(margin, random, pathlib.Path(folder, "traces.npz"))
    print_table(rows, COLUMNS, title=NESTED, formats=FORMATS)
    lengths = [
        {"samples": int(length), "ms": ours(margin, random, 16, int(length))[0]}
        for length in FLAGS.lengths
    ]
    for row in lengths:
        row["ns a sample"] = 1e6 * row["ms"] / (16 * row["samples"])
    print_table(lengths, title="16 traces", formats={"ms": ".3g"})
    if FLAGS.json:
        result = {"formula": NESTED, "rows": rows, "lengths": lengths}
        write_json(FLAGS.json, {**result, **origin()})


def compared(margin, random, path):
    """One row a side, for the same traces."""
    ms, signals, values = ours(margin, random, FLAGS.traces, FLAGS.samples)
    shape = {"traces": FLAGS.traces, "samples": FLAGS.samples}
    rows = [{"side": "tfshrink", **shape, "ms": ms}]
    if not FLAGS.peer_python:
        return rows
    np.savez(path, **signals)
    for name in ("rtamt", "stlcgpp"):
        script = str(HERE / "peers" / f"{name}_robustness.py")
        command = [FLAGS.peer_python, script, str(path), NESTED]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(
                "`--peer_python` must be an environment with rtamt and "
                f"stlcgpp. Received: {name}: {last}"
            )
        found = json.loads(done.stdout.splitlines()[-1])
        theirs = np.array(found["values"], "float32")
        rows.append(
            {
                "side": name,
                **shape,
                "ms": found["ms"],
                "times": found["ms"] / ms,
                "error": float(np.abs(theirs - values).max()),
            }
        )
    return rows


def ours(margin, random, traces, samples):
    """Median milliseconds of a call, the signals, and the values at 0."""
    signals = {
        name: random.normal(size=(traces, samples)).astype("float32")
        for name in "ab"
    }
    values = np.asarray(margin(signals))[:, 0]
    times = []
    for _ in range(FLAGS.repeats):
        start = time.perf_counter()
        np.asarray(margin(signals))
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times), signals, values


if __name__ == "__main__":
    cli.run(main)
