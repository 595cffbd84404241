"""`gettext`: English-Romanian pairs of the installed message catalogues.

Messages are short, technical and full of placeholders, and catalogues repeat
each other, so that a split by pair would test on text that was trained on.
What decides is the message's key: lower case, with placeholders, digits and
punctuation masked. Pairs with one key stay in one split, and a message is in
`test` by one of two rules:

- A small catalogue is held out as a whole, by the hash of its name: programs
  that were never seen. All that other catalogues share with it goes along.
- The other messages go by the hash of their key. One rule by catalogue alone
  would let the largest, a tenth of all pairs each, decide the size of `test`.

What other splits translate in the very words of a `test` pair is left out.
Messages that differ in a word may still cross: scores tell how well such
text is learned, not how well Romanian is.
"""

import functools
import re

from tfshrink.data.catalogues import catalogue_name
from tfshrink.data.catalogues import catalogue_paths
from tfshrink.data.catalogues import PLACEHOLDER
from tfshrink.data.catalogues import read_catalogue
from tfshrink.data.partition import split_of
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError

SHARES = {"test": 0.1, "train": 0.8, "calibrate": 0.05, "search": 0.05}
SALT = "gettext/0/"
SMALL = 400  # pairs; a larger catalogue is never held out as a whole

MISSING = (
    "`data` gettext needs installed Romanian catalogues "
    "(*/ro/LC_MESSAGES/*.mo). Received: none. Debian packages that carry "
    "many: libreoffice-l10n-ro, gimp-data, vlc-l10n, binutils-common, "
    "libgtk2.0-common, iso-codes (slim images leave out /usr/share/locale, "
    "not LibreOffice's); of pip: django."
)
_WORD = re.compile(r"[^\W_]+")


def load_gettext(split, paths=None):
    """Returns the pairs of one split, in the order of their catalogues.

    Args:
        split: `"train"`, `"calibrate"`, `"search"` or `"test"`.
        paths: Catalogues to read. Default: those installed, where a damaged
            one is passed over.

    Returns:
        List of (source, target): English and Romanian strings, no source
        twice.

    Raises:
        UserError: `split` is none of these, no catalogue is installed, or
            one of `paths` is damaged.
    """
    if split not in SHARES:
        raise unknown_choice("split", split, SHARES)
    catalogues = _installed() if paths is None else _read(paths)
    return split_pairs(catalogues)[split]


def split_pairs(catalogues):
    """Divides the pairs of catalogues; each English source counts once.

    Args:
        catalogues: List of (name, pairs), the pairs as (source, target). Of
            equal sources the first stays.

    Returns:
        `{split: list of (source, target)}`.
    """
    held_out = {
        message_key(source)
        for name, pairs in catalogues
        if len(pairs) <= SMALL and split_of(SALT + name, SHARES) == "test"
        for source, _ in pairs
    }
    splits = {split: [] for split in SHARES}
    distinct = {}
    for _, pairs in catalogues:
        for source, target in pairs:
            distinct.setdefault(source, target)
    for source, target in distinct.items():
        key = message_key(source)
        drawn = split_of(SALT + key, SHARES)
        splits["test" if key in held_out else drawn].append((source, target))
    return _without_tested_targets(splits)


def message_key(message):
    """Returns what near-duplicates of a message have in common.

    Lower case words, with every placeholder as `%` and every run of digits
    as `0`; punctuation, which catalogues write in many ways, is not in it.

    Example:

    >>> message_key("Can't open file `%s' (error 12)")
    'can t open file % error 0'
    """
    words = []
    for index, part in enumerate(PLACEHOLDER.split(message.lower())):
        if index:
            words.append("%")
        for word in _WORD.findall(part):
            words.append("0" if word.isdigit() else word)
    return " ".join(words)


def _without_tested_targets(splits):
    tested = {message_key(target) for _, target in splits["test"]}
    return {
        split: [
            pair
            for pair in pairs
            if split == "test" or message_key(pair[1]) not in tested
        ]
        for split, pairs in splits.items()
    }


def _read(paths):
    return [(catalogue_name(path), read_catalogue(path)) for path in paths]


@functools.cache
def _installed():
    """`[(name, pairs)]` of the installed catalogues, the damaged left out."""
    catalogues = []
    for path in catalogue_paths():
        try:
            pairs = read_catalogue(path)
        except UserError:
            continue  # one of many, and not what the user named
        if pairs:
            catalogues.append((catalogue_name(path), pairs))
    if not catalogues:
        raise UserError(MISSING)
    return catalogues
