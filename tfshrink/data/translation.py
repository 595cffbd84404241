"""English-Romanian pairs by name: what `--data` of a translator accepts."""

import itertools
import os

from tfshrink.data.catalogues import read_catalogue
from tfshrink.data.gettext_pairs import load_gettext
from tfshrink.data.partition import text_identity
from tfshrink.data.tfds_source import read_tfds
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError

WMT16 = "wmt16_translate/ro-en"
# What `--list` shows.
SOURCES = {
    "gettext": "message catalogues installed on this machine (offline)",
    WMT16: "news and parliament, 610,000 pairs (TFDS)",
    "FILE.tsv": "a local file: English, tab, Romanian, UTF-8",
    "FILE.mo": "one message catalogue",
}


def load_pairs(name, split="train", limit=None, data_dir=None):
    """Returns the pairs of a named set, English first.

    Args:
        name: `"gettext"`, `"wmt16_translate/ro-en"`, or a local `.tsv` or
            `.mo` file.
        split: `"train"`, `"calibrate"`, `"search"` or `"test"`, which never
            share an English text; of WMT16 they are as `read_tfds` has them.
            A local file is read whole for any: hold out a file of your own.
        limit: How many pairs at most, the first ones.
        data_dir: Where TensorFlow Datasets keeps its data. Default: as it
            decides (`TFDS_DATA_DIR`).

    Returns:
        List of (source, target): strings of which neither is blank.

    Raises:
        UserError: The name is unknown (with a suggestion), there is no pair,
            a file is damaged, or the network is needed and missing.

    Example:

    >>> load_pairs("gettext", "test", limit=1)
    [('Invalid argument', 'Argument nevalid')]
    """
    if limit is not None and limit < 1:
        raise UserError(f"`limit` must be at least 1. Received: {limit}")
    pairs = list(itertools.islice(_load(name, split, data_dir), limit))
    if not pairs:
        raise UserError(f"`data`: {name} must hold pairs. {split} is empty.")
    return pairs


def pairs_identity(pairs):
    """Returns the SHA-256 (hex) of pairs, printed where a figure rests on them.

    Installed catalogues differ between machines.

    Args:
        pairs: List of (source, target).
    """
    return text_identity(text for pair in pairs for text in pair)


def read_tsv(path):
    """Returns the pairs of a file with two columns; blank lines are skipped.

    Args:
        path: UTF-8 text: English, one tab, Romanian. Nothing is quoted.

    Returns:
        List of (source, target).

    Raises:
        UserError: The file cannot be read, or one line is not UTF-8 or not
            two columns with text.
    """
    try:
        with open(path, "rb") as file:
            lines = file.read().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.") from error
    return [
        _columns(line, f"{path} line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def _columns(line, place):
    try:
        columns = line.decode("utf-8").split("\t")
    except UnicodeDecodeError as error:
        raise UserError(f"{place} must be UTF-8 text: {error}.") from error
    columns = [column.strip() for column in columns]
    if len(columns) != 2 or not all(columns):
        raise UserError(
            f"{place} must have two columns, English and Romanian, with a tab "
            f"between. Received: {columns}"
        )
    return tuple(columns)


def _load(name, split, data_dir):
    if name == "gettext":
        return load_gettext(split)
    reader = READERS.get(os.path.splitext(name)[1])
    if reader is not None:
        return reader(os.path.expanduser(name))
    if name.removeprefix("tfds:") == WMT16:
        return _wmt16(name, split, data_dir)
    raise unknown_choice("data", name, SOURCES)


def _wmt16(name, split, data_dir):
    records = read_tfds(name, split, ["en", "ro"], data_dir=data_dir)
    for record in records:
        pair = tuple(record[field][0].strip() for field in ("en", "ro"))
        if all(pair):
            yield pair


READERS = {".tsv": read_tsv, ".mo": read_catalogue}
