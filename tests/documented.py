"""Parses documented commands with the flags of their own binary.

    python tests/documented.py bin/train < commands.json

Reads a list of argument lists and prints the list of what is wrong with each,
`null` where nothing is. Nothing is run: a process of its own a binary, since
all flags live in one table.
"""

import dataclasses
import json
import os
import runpy
import sys

from absl import flags

from tfshrink import cli
from tfshrink.errors import UserError

FLAGS = flags.FLAGS


def main():
    """Checks the commands of one binary."""
    path = sys.argv[1]
    sys.path.insert(0, os.path.dirname(path))  # as Python does for scripts
    runpy.run_path(path, run_name="documented")
    with open(path, encoding="utf-8") as file:
        takes_arguments = "takes_arguments=True" in file.read()
    wrong = [
        mistake(path, typed, takes_arguments) for typed in json.load(sys.stdin)
    ]
    print(json.dumps(wrong))


def mistake(path, typed, takes_arguments):
    """What is wrong with a command's arguments, or `None`."""
    FLAGS.unparse_flags()
    try:
        rest = cli.parse([path, *typed])
        if rest and not takes_arguments:
            raise UserError(f"takes no arguments. Received: {rest}")
        check_values(path)
    except UserError as error:
        return str(error)
    return None


def check_values(path):
    """Holds settings, codecs and policies to what reads them."""
    if path == "bin/train":
        from tfshrink.training.command import load_config
        from tfshrink.training.settings import TrainSettings

        config = load_config(FLAGS.config) if FLAGS.config else {}
        TrainSettings(**{**config, **typed_fields(TrainSettings)})
    elif path == "bin/search":
        from tfshrink.search.settings import SearchSettings

        SearchSettings(**typed_fields(SearchSettings))
    check_specs()


def typed_fields(settings):
    """The fields of a dataclass of settings that were typed."""
    names = [field.name for field in dataclasses.fields(settings)]
    return {
        name: FLAGS[name].value
        for name in names
        if name in FLAGS and FLAGS[name].present
    }


def check_specs():
    """Parses the codecs and the exit policies that were typed."""
    from tfshrink.exit_spec import parse_exits
    from tfshrink.kv_spec import KVSpec

    if "kv" in FLAGS and FLAGS["kv"].present:
        value = FLAGS["kv"].value
        parts = value.split(",") if isinstance(value, str) else value
        for part in parts:
            KVSpec.parse(part)
    if "exit" in FLAGS and FLAGS["exit"].present:
        parse_exits(FLAGS["exit"].value)


if __name__ == "__main__":
    main()
