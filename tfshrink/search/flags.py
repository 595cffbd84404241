"""Flags that sensitivity, search and certify share."""

import dataclasses

from absl import flags

from tfshrink import cli
from tfshrink.search.subject import Subject

FLAGS = flags.FLAGS


def define_subject_flags():
    """Defines the flags of a `Subject`."""
    cli.define_model_flags()
    with cli.flag_group("Model"):
        flags.DEFINE_string(
            "workdir", None, "A finished run of bin/train, not --model."
        )
        flags.DEFINE_integer(
            "group", 64, "Inputs per scale of a --model; 0 is per channel."
        )
        flags.DEFINE_enum(
            "scales", "mse", ["mse", "rtn"], "How a --model's are fitted."
        )
        flags.DEFINE_integer(
            "activations", None, "8 rounds inputs to int8 as exports do; 0 not."
        )
    with cli.flag_group("Requirement"):
        flags.DEFINE_string(
            "formula",
            None,
            "Signal Temporal Logic, as text or a file of configs/. Default: "
            "that of configs/stl_default.py.",
        )
        flags.DEFINE_float(
            "relax_thresholds",
            0.0,
            "Share by which its thresholds give way, 0 to 0.2.",
        )
    with cli.flag_group("Data"):
        flags.DEFINE_string(
            "data",
            "pydoc",
            "Text of the prompts; A+B is both. See --list.",
        )
        flags.DEFINE_bool(
            "use_real_datasets",
            False,
            "LAMBADA, WikiText-2 and TruthfulQA (TensorFlow Datasets).",
        )
        flags.DEFINE_integer(
            "dataset_subset_size", 50, "Prompts of each.", lower_bound=1
        )
        flags.DEFINE_integer("prompts", 16, "Prompts.", lower_bound=1)
        flags.DEFINE_integer("tokens", 64, "Tokens of a prompt.", lower_bound=1)
        flags.DEFINE_enum(
            "dtype", "float32", ["bfloat16", "float32"], "What is computed in."
        )


def subject_of_flags(**changes):
    """The `Subject` that the flags describe.

    Args:
        **changes: Fields that are otherwise.
    """
    from tfshrink.errors import UserError

    if FLAGS.workdir and (FLAGS["model"].present or "model" in changes):
        name = changes.get("model", FLAGS.model)
        raise UserError(
            "`--model` and `--workdir` exclude each other: a run knows its "
            f"model. Received: {name} and {FLAGS.workdir}"
        )
    names = [field.name for field in dataclasses.fields(Subject)]
    return Subject(**{name: FLAGS[name].value for name in names} | changes)


def print_choices():
    """Prints what the shared flags take."""
    from tfshrink.data.documents import SOURCES
    from tfshrink.stl.requirement import DEFAULT
    from tfshrink.stl.signals import SIGNALS

    print("--formula (signals; NAME_mean16 is a mean over 16 tokens):")
    for name, signal in SIGNALS.items():
        print(f"  {name:<26}{signal.meaning}")
    print(f"  Default: {DEFAULT}")
    print("--data:")
    for name, meaning in SOURCES.items():
        print(f"  {name:<14}{meaning}")
    print("  truthful_qa   questions; their best answers are gold (or its CSV)")
