"""Flags of bin/benchmark --suite=kv, and what they set off."""

from absl import flags

from tfshrink import cli
from tfshrink.errors import UserError

FLAGS = flags.FLAGS


def define_flags():
    """Defines the flags of this suite alone."""
    with cli.flag_group("Suite kv"):
        flags.DEFINE_list(
            "method",
            ["all"],
            "Codecs, per_vector, layer_wise, or all. See --list.",
        )
        flags.DEFINE_list(
            "compression", None, "Fractions removed. Default: .5,.75,.875."
        )
        flags.DEFINE_list("keep", None, "Fractions kept, instead.")
        flags.DEFINE_string(
            "layers",
            "all",
            "all, first_half, second_half, even, odd, or numbers.",
        )
        flags.DEFINE_bool(
            "verify", False, "Hold each codec to the exact cache."
        )
        flags.DEFINE_integer(
            "context", 2048, "Tokens in a window.", lower_bound=2
        )
        flags.DEFINE_enum(
            "dtype", "bfloat16", ["bfloat16", "float32"], "What is computed in."
        )
        flags.DEFINE_integer("seed", 0, "Of the passages.", lower_bound=0)


def run_suite():
    """Runs the suite that the flags describe."""
    from tfshrink.evaluation.kv_suite import kv_suite
    from tfshrink.evaluation.kv_suite_report import print_suite
    from tfshrink.files import write_json

    names = ["model", "method", "layers", "data", "context", "dtype"]
    names += ["verify", "speed", "seed"]
    options = {name: FLAGS[name].value for name in names}
    if FLAGS.limit is not None:
        options["limit"] = FLAGS.limit
    if FLAGS.json:  # what is measured is kept, whatever comes
        options["on_rows"] = lambda rows: write_json(FLAGS.json, {"rows": rows})
    results = kv_suite(**options, compression=fractions())
    if FLAGS.json:
        write_json(FLAGS.json, results)
    print_suite(results, json=FLAGS.json, markdown=FLAGS.markdown)


def fractions():
    """What is to be removed, of --compression or --keep."""
    if FLAGS.compression is not None and FLAGS.keep is not None:
        raise UserError(
            "`--compression` and `--keep` exclude each other: one is what the "
            f"other leaves. Received: {','.join(FLAGS.compression)} and "
            f"{','.join(FLAGS.keep)}"
        )
    name = "keep" if FLAGS.keep is not None else "compression"
    texts = FLAGS[name].value or [".5", ".75", ".875"]
    try:
        values = [float(text) for text in texts]
    except ValueError:
        raise UserError(
            f"`--{name}` must be fractions such as .5,.75. "
            f"Received: {','.join(texts)}"
        ) from None
    return [1.0 - x for x in values] if name == "keep" else values


def print_choices():
    """Prints what `--method` takes."""
    from tfshrink.kv_spec import CODECS

    for name, meaning in CODECS.items():
        print(f"  {name:<10}{meaning}")
