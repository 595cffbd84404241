"""A folder belongs to one comparison, which it remembers."""

import json

from tfshrink.errors import UserError
from tfshrink.files import plain
from tfshrink.files import write_json

OPTIONS = "suite.json"


def keep_options(folder, options):
    """Notes in a folder what is compared there.

    Args:
        folder: `Path`.
        options: Dict of plain values, on which every figure depends.

    Raises:
        UserError: The folder holds a comparison of other options, or something
            else.
    """
    path, options = folder / OPTIONS, plain(options)
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(
                "`workdir` must be new, empty or of an earlier comparison. "
                f"Received: {folder}, which holds something else"
            )
        return write_json(path, options)
    try:
        kept = json.loads(path.read_text("utf-8"))
        differ = [name for name in options if kept[name] != options[name]]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} must say what is compared there. Received: {error!r}"
        ) from error
    for name in differ:
        raise UserError(
            f"`workdir` must be new, or of a comparison with the same {name}, "
            f"{options[name]!r}. Received: {folder}, where it is {kept[name]!r}"
        )
    return None
