"""The frame of every binary: flags, help, one-line errors, exit codes."""

import contextlib
import dataclasses
import difflib
import os
import re
import signal
import sys
import textwrap

from absl import flags

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.quiet import quiet

# Flags defined through this module count as the binary's own.
flags.disclaim_key_flags()

FLAGS = flags.FLAGS
_HELP = ("-h", "-help", "--help", "--helpshort", "--helpfull")
_GROUPS = {}  # title: names of its flags, in the order of the help


def run(main, *, takes_arguments=False):
    """Parses the flags, calls `main(arguments)` and exits.

    Exits with 0 on success, 1 on a user's mistake or a failing system (one
    line on stderr; below it a formula that cannot be read), 130 on Ctrl-C. Any
    other error is a defect and keeps its traceback. `--help` prints the
    docstring of `main`'s module and its flags.

    Args:
        main: Function of the list of what was typed beside the flags.
        takes_arguments: Whether anything but flags may be typed.
    """
    code = _run(main, sys.argv, takes_arguments)
    try:
        sys.stdout.flush()
    except OSError:  # what a full disk did not take: Python would try again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.stderr.flush()
    # C++ libraries take their leave there once Python is gone.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.exit(code)


def _run(main, argv, takes_arguments):
    name = os.path.basename(argv[0])
    quiet()
    try:
        if any(argument in _HELP for argument in argv[1:]):
            print(help_text(main))
        else:
            arguments = parse(argv)
            if arguments and not takes_arguments:
                raise UserError(
                    "Every option must be written --name=value. "
                    f"Received: {arguments[0]!r}"
                )
            if "cpu" in FLAGS and FLAGS.cpu:
                _hide_gpus()
            main(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # one line, not two
        hint = "; --resume continues it" if "resume" in FLAGS else ""
        return _fail(name, f"interrupted{hint}", code=130)
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted: nothing to report.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (UserError, OSError) as error:
        return _fail(name, describe(error))
    except Exception as error:
        # TensorFlow has an error class of its own for what the disk says.
        if "No space left on device" not in str(error):
            raise
        return _fail(name, describe(error))
    return 0


def _fail(name, message, code=1):
    # What is set off stands as it is: text with a caret below it.
    text, *shown = message.split("\n  ")
    lines = [f"{name}: {' '.join(text.split())}", *(f"  {s}" for s in shown)]
    print("\n".join(lines), file=sys.stderr)
    return code


def describe(error):
    """One line for an error: what failed, and on which file."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return str(error) or type(error).__name__


def parse(argv):
    """Parses `argv` into the flags and returns what is no flag.

    Raises:
        UserError: An unknown flag, or a value the flag does not take.
    """
    try:
        return FLAGS(argv)[1:]
    except flags.UnrecognizedFlagError as error:
        raise _unknown_flag(error.flagname) from error
    except flags.Error as error:
        raise _bad_value(str(error)) from error


def _unknown_flag(name):
    near = difflib.get_close_matches(name, list(FLAGS), n=1)
    hint = f"Did you mean --{near[0]}? " if near else ""
    return UserError(
        f"`--{name}` is no flag of this command. {hint}--help lists them."
    )


def _bad_value(message):
    match = re.match(r"flag --(\w+)=(.*?): (.*)", message, re.DOTALL)
    if not match or match[1] not in FLAGS:
        return UserError(message)
    name, value, reason = match.groups()
    flag = FLAGS[name]
    choices = getattr(flag.parser, "enum_values", None)
    if choices and value != "None":
        return unknown_choice(f"--{name}", value, choices)
    if value == "None":
        return UserError(f"`--{name}` must be given. --help explains it.")
    if flag.boolean:
        return UserError(f"`--{name}` must be true or false. Received: {value}")
    if _parses(flag, value) or not flag.parser.syntactic_help:
        return UserError(f"`--{name}`: {reason} Received: {value}")
    expected = flag.parser.syntactic_help
    return UserError(f"`--{name}` must be {expected}. Received: {value}")


def _parses(flag, value):
    """Whether the value has the flag's type, so that a validator said no."""
    try:
        flag.parser.parse(value)
    except ValueError:
        return False
    return True


def _hide_gpus():
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["JAX_PLATFORMS"] = "cpu"


@contextlib.contextmanager
def flag_group(title):
    """Puts the flags that are defined inside under one title of the help.

    Example:

    ```python
    with cli.flag_group("Training"):
        flags.DEFINE_enum("style", "spnet", sorted(STYLES), "How to train.")
    ```
    """
    before = set(FLAGS)
    yield
    names = [name for name in FLAGS if name not in before]
    _GROUPS.setdefault(title, []).extend(names)


def flags_of(define):
    """Calls a function that defines flags; returns their names."""
    before = set(FLAGS)
    define()
    return [name for name in FLAGS if name not in before]


def help_text(main):
    """The manual: the module's docstring, then its flags by group."""
    module = sys.modules[main.__module__]
    own = {flag.name for flag in FLAGS.get_key_flags_for_module(module)}
    groups = dict(_GROUPS)
    grouped = {name for names in groups.values() for name in names}
    groups["Other"] = [name for name in FLAGS if name in own - grouped]
    parts = [(module.__doc__ or "").strip()]
    for title, names in groups.items():
        if names:
            lines = [_flag_help(name) for name in names]
            parts.append("\n".join([f"{title}:", *lines]))
    return "\n\n".join(parts)


def _flag_help(name):
    flag = FLAGS[name]
    choices = getattr(flag.parser, "enum_values", None)
    left = f"--[no]{name}" if flag.boolean else f"--{name}"
    text = flag.help or ""
    if choices:
        text = text.partition(": ")[2]  # absl puts the choices in front
        text += f" One of: {', '.join(choices)}."
    is_alias = text.startswith("Alias for")
    if flag.default not in (None, False, "", []) and not is_alias:
        text += f" Default: {flag.default_as_str.strip(chr(39))}."
    indent = " " * 22
    body = textwrap.fill(
        text, width=79, initial_indent=indent, subsequent_indent=indent
    )
    if len(left) > 18:
        return f"  {left}\n{body}"
    return f"  {left:<20}{body[22:]}"


def define_model_flags():
    """Defines `--model` and `--cpu`."""
    with flag_group("Model"):
        flags.DEFINE_string(
            "model",
            "smollm2-135m",
            "A named model (smollm2-135m, tiny), a local folder or .gguf "
            "file, or a Hugging Face name such as gpt2.",
        )
        flags.DEFINE_bool("cpu", False, "Use the CPU though a GPU is there.")


def define_plan_flag(default=None):
    """Defines `--plan` and its alias `--bitmap`.

    Args:
        default: The plan when none is given.
    """
    with flag_group("Plan"):
        flags.DEFINE_string(
            "plan",
            default,
            "Bits of every layer group: one integer (8), a comma list with "
            "one entry per block group (8,8,4,4,...), a pattern (stripe-8-4) "
            "or a plan.json. Behind a colon what to remove, and other bits: "
            "4:channels=.1:heads=.33:embedding=4.",
        )
        flags.DEFINE_alias("bitmap", "plan")


def define_data_flags(default="pydoc"):
    """Defines `--data` and `--limit`.

    Args:
        default: The data set when none is given.
    """
    with flag_group("Data"):
        flags.DEFINE_string(
            "data", default, "A data set's name or a local file."
        )
        flags.DEFINE_integer(
            "limit", None, "How many examples of it to use.", lower_bound=1
        )


def define_workdir():
    """Defines `--workdir`, `--overwrite` and `--resume`."""
    with flag_group("Run folder"):
        flags.DEFINE_string(
            "workdir",
            None,
            "Folder of the run. Without it, the next runs/<name>-<n>.",
        )
        flags.DEFINE_bool("overwrite", False, "Replace the run that is there.")
        flags.DEFINE_bool("resume", False, "Continue the run that is there.")


def define_output_flags():
    """Defines `--json`, `--dry_run` and `--list`."""
    with flag_group("Output"):
        flags.DEFINE_string(
            "json", None, "File that takes the results as JSON."
        )
        flags.DEFINE_bool(
            "dry_run", False, "Show what would be done, do one step of it."
        )
        flags.DEFINE_bool("list", False, "List what can be chosen and stop.")


def define_settings(settings, descriptions):
    """Defines a flag for fields of a dataclass of settings.

    Args:
        settings: Dataclass with defaults.
        descriptions: Field name to help text, or to `(help, choices)`.
    """
    fields = {field.name: field for field in dataclasses.fields(settings)}
    for name, text in descriptions.items():
        default = fields[name].default
        text, choices = text if isinstance(text, tuple) else (text, None)
        if choices:
            flags.DEFINE_enum(name, default, sorted(choices), text)
        elif isinstance(default, bool):
            flags.DEFINE_bool(name, default, text)
        elif isinstance(default, float):
            flags.DEFINE_float(name, default, text, lower_bound=0.0)
        elif isinstance(default, int) or "int" in str(fields[name].type):
            flags.DEFINE_integer(name, default, text, lower_bound=0)
        else:
            flags.DEFINE_string(name, default, text)
