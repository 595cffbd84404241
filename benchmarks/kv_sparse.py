#!/usr/bin/env python
"""Asks where sparse products pay in attention over compressed keys.

One new token's queries meet N cached keys of one head, of whose D coefficients
k are kept: the first k (a truncated basis, a dense product of k columns) or
the largest k of each key (a sparse matrix with N k entries). The sparse ones
are SciPy's CSR, TensorFlow's SparseTensor, and a gather that XLA compiles;
beside them the dense product with all D. Milliseconds are medians, the call
from Python (.2 ms of TensorFlow's) included, and what compiling takes is said.

Examples:
  python benchmarks/kv_sparse.py
  python benchmarks/kv_sparse.py --tokens=16384 --queries=64
  python benchmarks/kv_sparse.py --kept=2,4,8 --json=out/sparse.json
"""

import time

import numpy as np
import scipy.sparse
from absl import flags

from tfshrink import cli
from tfshrink.evaluation.results import origin
from tfshrink.evaluation.table import print_table
from tfshrink.files import write_json

FLAGS = flags.FLAGS
COLUMNS = {
    "tokens": "tokens",
    "kept": "kept of D",
    "way": "way",
    "ms": "ms",
    "dense": "times dense",
    "compile": "s to compile",
    "error": "error",
}
FORMATS = {"ms": ".4f", "dense": ".2f", "compile": ".2f", "error": ".1e"}

with cli.flag_group("Work"):
    flags.DEFINE_list("tokens", [4096, 65536], "Cached keys N.")
    flags.DEFINE_list("kept", [4, 8, 16, 32], "Coefficients k of a key.")
    flags.DEFINE_integer("width", 64, "Coefficients D.", lower_bound=8)
    flags.DEFINE_integer("queries", 3, "That share a head.", lower_bound=1)
    flags.DEFINE_integer("repeats", 200, "Measured calls.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of the keys.", lower_bound=0)
with cli.flag_group("Output"):
    flags.DEFINE_string("json", None, "File that takes the figures.")


def ways(keys, queries, kept):
    """Functions that return scores `(R, N)`, and what they should.

    Args:
        keys: `(N, D)` coefficients.
        queries: `(R, D)`.
        kept: k.

    Yields:
        `(name, function, expected)`.
    """
    import tensorflow as tf

    order = np.argsort(-np.abs(keys), axis=1)[:, :kept]
    places = np.sort(order, axis=1)
    numbers = np.take_along_axis(keys, places, 1)
    largest = np.zeros_like(keys)
    np.put_along_axis(largest, places, numbers, 1)
    first = keys[:, :kept]
    exact = queries @ keys.T
    truncated = queries[:, :kept] @ first.T
    sparse = queries @ largest.T

    def compiled(function, *constants):
        constants = [tf.constant(x) for x in constants]
        run = tf.function(
            lambda q: function(q, *constants), jit_compile=True, autograph=False
        )
        own = tf.constant(queries)
        return lambda: run(own).numpy()

    yield "NumPy, all D", lambda: queries @ keys.T, exact
    yield "XLA, all D", compiled(lambda q, x: q @ tf.transpose(x), keys), exact
    yield "NumPy, first k", lambda: queries[:, :kept] @ first.T, truncated
    yield (
        "XLA, first k",
        compiled(lambda q, x: q[:, :kept] @ tf.transpose(x), first),
        truncated,
    )
    csr = scipy.sparse.csr_array(largest)
    turned = np.ascontiguousarray(queries.T)
    yield "SciPy CSR, largest k", lambda: (csr @ turned).T, sparse
    rows = np.repeat(np.arange(len(keys)), kept)
    indices = np.stack([rows, places.ravel()], 1).astype("int64")
    tensor = tf.SparseTensor(indices, numbers.ravel(), keys.shape)
    columns = tf.constant(turned)
    yield (
        "TF sparse, largest k",
        lambda: tf.sparse.sparse_dense_matmul(tensor, columns).numpy().T,
        sparse,
    )

    def gathered(q, places, numbers):
        own = tf.gather(q, places, axis=1)  # (R, N, k)
        return tf.reduce_sum(own * numbers, axis=-1)

    yield (
        "XLA gather, largest k",
        compiled(gathered, places.astype("int32"), numbers),
        sparse,
    )


def main(arguments):
    """Measures all ways at all sizes."""
    random = np.random.default_rng(FLAGS.seed)
    rows = []
    for tokens in map(int, FLAGS.tokens):
        scale = 1.0 / np.sqrt(1 + np.arange(FLAGS.width))
        keys = random.normal(size=(tokens, FLAGS.width)) * scale
        queries = random.normal(size=(FLAGS.queries, FLAGS.width))
        keys, queries = keys.astype("float32"), queries.astype("float32")
        for kept in map(int, FLAGS.kept):
            found = []
            for name, run, expected in ways(keys, queries, kept):
                start = time.perf_counter()
                error = float(np.abs(run() - expected).max())
                first = time.perf_counter() - start
                times = []
                for _ in range(FLAGS.repeats):
                    start = time.perf_counter()
                    run()
                    times.append(time.perf_counter() - start)
                found.append(
                    {
                        "tokens": tokens,
                        "kept": kept,
                        "way": name,
                        "ms": 1e3 * float(np.median(times)),
                        "compile": first if "XLA" in name else None,
                        "error": error,
                    }
                )
            for row in found:
                same = [own["ms"] for own in found[:2]]
                row["dense"] = row["ms"] / min(same)
            rows += found
    title = f"{FLAGS.queries} queries, keys of {FLAGS.width} coefficients"
    print_table(rows, COLUMNS, title=title, formats=FORMATS)
    if FLAGS.json:
        write_json(FLAGS.json, {"rows": rows, **origin()})


if __name__ == "__main__":
    cli.run(main)
