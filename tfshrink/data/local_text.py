"""Text from a file at hand."""

import os

from tfshrink.data.records import read_records
from tfshrink.data.squad import read_squad_json
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError


def load_local(path):
    """Returns the documents of a local file.

    Args:
        path: `.txt` or `.md` (one document), `.jsonl` or `.tfrecord` (one a
            row, under `text`), or SQuAD's `.json` (its distinct passages).

    Returns:
        List of strings, not all blank.

    Raises:
        UserError: The file is missing, of another kind, damaged or empty.
    """
    path = os.path.expanduser(path)
    suffix = os.path.splitext(path)[1]
    if suffix not in READERS:
        raise unknown_choice(f"ending of {path}", suffix, READERS)
    documents = [text for text in READERS[suffix](path) if text.strip()]
    if not documents:
        raise UserError(f"{path} must hold text. It is empty.")
    return documents


def _read_text(path):
    try:
        with open(path, encoding="utf-8") as file:
            return [file.read()]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} must be UTF-8 text: {error}.") from error


def _read_rows(path):
    for number, row in enumerate(read_records(path), 1):
        text = row.get("text") if isinstance(row, dict) else row
        if not isinstance(text, str):
            raise UserError(
                f"{path} row {number} must be a string or have `text`. "
                f"Received: {str(row)[:80]}"
            )
        yield text


def _read_squad(path):
    return dict.fromkeys(one.context for one in read_squad_json(path))


READERS = {
    ".txt": _read_text,
    ".md": _read_text,
    ".jsonl": _read_rows,
    ".tfrecord": _read_rows,
    ".json": _read_squad,
}
