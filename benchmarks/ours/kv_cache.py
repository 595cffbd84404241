#!/usr/bin/env python
"""tfshrink's side of the K/V caches; the peer is torch_kv_cache.py.

Every row of the token file is a text of its own, read through the cache that
generation uses; only positions from --first on count. Prints one line of JSON.

Examples:
  python benchmarks/ours/kv_cache.py --weights=FOLDER --tokens=tokens.npy
  python benchmarks/ours/kv_cache.py --weights=FOLDER --tokens=tokens.npy
      --kv=dct:4x --dtype=float32
  python benchmarks/ours/kv_cache.py --weights=FOLDER --tokens=tokens.npy
      --kv=int4 --steps=4 --context=1024 --first=512
"""

import math

import numpy as np
import ours_common
from absl import flags

from tfshrink import cli

FLAGS = flags.FLAGS

ours_common.define_flags(context=2048, steps=16)
with cli.flag_group("Work"):
    flags.DEFINE_string("kv", "pca:4x", "Codec of the cache.")
    flags.DEFINE_integer("first", 1024, "Token from which they count.")
    flags.DEFINE_string("source", None, "What calibrates; as --model takes it.")


def main(arguments):
    """Measures a codec and prints the figures."""
    from tfshrink.evaluation.kv_cost import state_bytes
    from tfshrink.evaluation.quality_meter import QualityMeter
    from tfshrink.kv_spec import KVSpec
    from tfshrink.layers.kv_cache import KVCache
    from tfshrink.models.kv_codecs import open_codecs
    from tfshrink.models.load import load_model
    from tfshrink.models.sources import open_source

    source = open_source(FLAGS.source or FLAGS.weights)
    model = load_model(FLAGS.weights, dtype=FLAGS.dtype)
    codecs = open_codecs(KVSpec.parse(FLAGS.kv), source, FLAGS.context)
    score = QualityMeter(model, codecs=codecs).scorer()
    store = KVCache(model.config, FLAGS.context, "bfloat16", codecs)
    batches = ours_common.load_batches()[: FLAGS.steps]
    first = max(FLAGS.first, 1)

    def nats(tokens):
        found = np.asarray(score(tokens)[0], "float64")
        return float(found[:, first - 1 :].sum())

    nats(batches[0])
    total, seconds = 0.0, []
    for batch in batches:
        value, took = ours_common.timed(nats, batch)
        total += value
        seconds.append(took)
    counted = len(batches) * FLAGS.batch * (FLAGS.context - first)
    ours_common.report(
        seconds,
        perplexity=math.exp(total / counted),
        kv_bytes=state_bytes(store.create(1)),
    )


if __name__ == "__main__":
    cli.run(main)
