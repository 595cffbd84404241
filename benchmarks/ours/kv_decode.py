#!/usr/bin/env python
"""Decodes behind a full K/V cache, and says what time and memory it takes.

Each row of the token file is a prompt that leaves room for what is decoded in
a cache of --context tokens. Prints one line of JSON.

Examples:
  python benchmarks/ours/kv_decode.py --weights=FOLDER --tokens=tokens.npy
  python benchmarks/ours/kv_decode.py --weights=FOLDER --tokens=tokens.npy
      --kv=int4 --context=1024 --batch=1
  python benchmarks/ours/kv_decode.py --weights=FOLDER --tokens=tokens.npy
      --kv=pca:4x --source=smollm2-135m --batch=8
"""

import ctypes
import gc
import os
import pathlib
import statistics

import ours_common
from absl import flags

from tfshrink import cli

FLAGS = flags.FLAGS
CHUNK = 16  # tokens of a measured call
STEP = 64  # tokens that a coded cache reads at once
# TensorFlow's own pool keeps the most it ever held, gigabytes after a prompt.
os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")

ours_common.define_flags(context=4096, steps=1)
with cli.flag_group("Work"):
    flags.DEFINE_integer("calls", 6, "Measured calls.", lower_bound=1)
    flags.DEFINE_string("kv", "pca:4x", "Codec of the cache.")
    flags.DEFINE_string("source", None, "What calibrates; as --model takes it.")


def main(arguments):
    """Measures a codec and prints the figures."""
    from tfshrink.evaluation.kv_cost import state_bytes
    from tfshrink.kv_spec import KVSpec
    from tfshrink.layers.kv_cache import KVCache
    from tfshrink.models.generation import Generator
    from tfshrink.models.kv_codecs import open_codecs
    from tfshrink.models.load import load_model
    from tfshrink.models.sources import open_source

    source = open_source(FLAGS.source or FLAGS.weights)
    model = load_model(FLAGS.weights, dtype=FLAGS.dtype)
    codecs = open_codecs(KVSpec.parse(FLAGS.kv), source, FLAGS.context)
    tokens = ours_common.load_batches()[0]
    new = CHUNK * (FLAGS.calls + FLAGS.warmup)
    generator = Generator(
        model, cache_length=FLAGS.context, chunk=CHUNK, codecs=codecs
    )
    read = (FLAGS.context - new) // STEP * STEP  # the last token comes after
    prompts = tokens[:, : read + 1].tolist()
    calls = generator.steps(prompts, new, CHUNK, {"temperature": 0.0})
    for _ in range(FLAGS.warmup):
        next(calls)
    seconds = [
        ours_common.timed(next, calls)[1] / CHUNK for _ in range(FLAGS.calls)
    ]
    gc.collect()
    store = KVCache(model.config, FLAGS.context, FLAGS.dtype, codecs)
    ours_common.report(
        seconds,
        tokens_per_second=FLAGS.batch / statistics.median(seconds),
        kv_mb=state_bytes(store.create(FLAGS.batch)) / 1e6,
        rss_mb=resident_mb(),
    )


def resident_mb():
    """What the process holds now, in 10^6 bytes (Linux).

    What it has freed goes back to the system first.
    """
    ctypes.CDLL(None).malloc_trim(0)
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


if __name__ == "__main__":
    cli.run(main)
