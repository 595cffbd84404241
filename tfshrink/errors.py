"""The one error a user's mistake raises, and suggestions for typos."""

import contextlib
import difflib

# What parsing a damaged file may raise, beside `OSError`.
DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    RecursionError,  # brackets in brackets, a hundred thousand deep
    TypeError,
    ValueError,
)


class UserError(ValueError):
    """A mistake in what the user gave: a flag, a file, a name.

    The message is one line that names the argument or file, what was
    expected and what came. Binaries print it on stderr and exit with 1;
    anything else that is raised is a defect and keeps its traceback.
    """


@contextlib.contextmanager
def damage_named(path):
    """Makes what a damaged file raises inside a `UserError` that names it."""
    try:
        yield
    except UserError:
        raise
    except DAMAGE as error:
        raise UserError(
            f"{path} must be whole. Received: a value in it that is none "
            f"({type(error).__name__}: {error})"
        ) from error


def unknown_choice(argument, value, choices):
    """Returns a `UserError` for a `value` that is none of `choices`.

    Args:
        argument: Name of the argument or flag.
        value: What was received.
        choices: Iterable of the accepted names.

    Returns:
        A `UserError` whose message suggests the nearest choice.
    """
    choices = sorted(map(str, choices))
    near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.5)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    return UserError(
        f"`{argument}` must be one of {', '.join(choices)}. "
        f"Received: {value!r}.{hint}"
    )
