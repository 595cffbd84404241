"""The one error a user's mistake raises, and suggestions for typos."""

import difflib


class UserError(ValueError):
    """A mistake in what the user gave: a flag, a file, a name.

    The message is one line that names the argument or file, what was
    expected and what came. Binaries print it on stderr and exit with 1;
    anything else that is raised is a defect and keeps its traceback.
    """


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
