#!/usr/bin/env python
"""A compression study of the K/V cache, from Python.

Which codec keeps a model's predictions best at the same bytes? Several codecs
at several rates read the same windows; the figure shows how much perplexity
rises over how much smaller the cache is.

Examples:
  python examples/kv_study.py
  python examples/kv_study.py --limit=16 --compression=.5,.6,.7,.75,.8,.85
  python examples/kv_study.py --model=tiny --context=256 --compression=.3,.4
"""

from absl import flags

from tfshrink import cli

FLAGS = flags.FLAGS

cli.define_model_flags()
with cli.flag_group("Study"):
    flags.DEFINE_list(
        "method", ["pca", "dct", "layer_wise", "int4", "int2"], "Codecs."
    )
    flags.DEFINE_list("compression", [".67", ".75", ".83"], "Removed.")
    flags.DEFINE_integer("context", 2048, "Tokens of a window.", lower_bound=2)
    flags.DEFINE_integer("limit", 4, "Windows.", lower_bound=1)
    flags.DEFINE_string("output", "kv_study.png", "Figure.")
    flags.DEFINE_string("json", None, "File that takes the results.")


def main(arguments):
    """Measures, prints and draws."""
    from tfshrink.evaluation.kv_suite import kv_suite
    from tfshrink.evaluation.kv_suite_report import print_suite
    from tfshrink.files import write_json
    from tfshrink.kv_spec import KVSpec
    from tfshrink.report.kv_plot import draw_kv

    results = kv_suite(
        model=FLAGS.model,
        method=FLAGS.method,
        compression=[float(value) for value in FLAGS.compression],
        context=FLAGS.context,
        limit=FLAGS.limit,
        speed=False,
    )
    if FLAGS.json:
        write_json(FLAGS.json, results)
    print_suite(results, json=FLAGS.json)
    points = [
        {
            "family": KVSpec.parse(row["kv"]).codec.rstrip("24"),
            "smaller": row["kv_compression"],
            "ratio": row["perplexity_ratio"],
        }
        for row in results["rows"][1:]
    ]
    draw_kv(points, FLAGS.output, title=results["protocol"]["describe"])
    print(f"Figure: {FLAGS.output}")


if __name__ == "__main__":
    cli.run(main)
