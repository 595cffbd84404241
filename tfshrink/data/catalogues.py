"""Romanian message catalogues (`.mo`): where they lie, and what they say."""

import gettext
import glob
import os
import re
import site
import sys
import unicodedata

from tfshrink.errors import UserError

LANGUAGES = ("ro", "ro_RO")
# Folders below a Python package that hold a folder a language, and how deep.
PACKAGE_FOLDERS = ("locale", "locales", "translations")
PACKAGE_DEPTH = 3
LONGEST = 400  # characters of either side; above are licences and help pages

# Romanian writes a comma below s and t; older files hold the cedilla.
COMMA_BELOW = str.maketrans("şţŞŢ", "șțȘȚ")
# printf's %5.2f, %1$s, %(name)s and %zu, then {name}, ${name} and $NAME.
PLACEHOLDER = re.compile(
    r"%(?:\d+\$)?(?:\([^)]*\))?[-+#0'*.\d]*(?:hh?|ll?|[jztLq])?[a-zA-Z]"
    r"|\$?\{[^{}]*\}|\$\w+|%\d"
)
# A menu's label, and the sign in it that marks the key to press.
_LABEL = re.compile(r"[\w\s.…:,()/\-&~!?%$]{1,60}")
_MARKS = {mark: re.compile(rf"\w*{mark}[^\W\d_]\w*") for mark in "_&~"}


def catalogue_paths():
    """Returns the paths of the installed Romanian catalogues.

    A bounded list of places is looked at, none of them to its bottom: the
    shared folders of the system and of this Python, LibreOffice's, and the
    Python packages that can be imported, three folders deep.

    Returns:
        Sorted list of paths, each file once.
    """
    found = {}
    for folder in _language_folders():
        pattern = os.path.join(glob.escape(folder), "LC_MESSAGES", "*.mo")
        for path in sorted(glob.glob(pattern)):
            found.setdefault(os.path.realpath(path), path)
    return sorted(found.values(), key=lambda path: (catalogue_name(path), path))


def catalogue_name(path):
    """Returns `owner/domain` of a catalogue, the same on every machine.

    The owner is the folder around `locale`: `share/apt`, `admin/django`.
    """
    parts = os.path.abspath(path).split(os.sep)
    domain = os.path.splitext(parts[-1])[0]
    return f"{parts[-5]}/{domain}" if len(parts) >= 5 else domain


def read_catalogue(path):
    """Returns the pairs of one catalogue.

    Left out are the header, plural forms, what is not translated, what is
    equal on both sides or has no letters beside its placeholders, and texts
    above `LONGEST` characters. Compiled catalogues hold no fuzzy entries. A
    message's context is dropped, white space is one space, Romanian has its
    commas below, and the sign of a menu's key (`_File`, `_Fișier`) goes where
    both sides have it. Placeholders stay as they are.

    Args:
        path: A `.mo` file of English messages and their translations.

    Returns:
        List of (source, target), in the file's order; may be empty.

    Raises:
        UserError: The file is missing, damaged or no catalogue.

    Reference: the GNU gettext manual, "The Format of GNU MO Files".
    """
    try:
        with open(path, "rb") as file:
            # The parser's own table: plural forms have tuples as keys.
            messages = gettext.GNUTranslations(file)._catalog
    except Exception as error:  # damaged bytes raise nearly anything there
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{path} must be a message catalogue (.mo): "
            f"{' '.join(reason.split()) or type(error).__name__}."
        ) from error
    pairs = (
        clean_pair(source.rpartition("\x04")[2], target)
        for source, target in messages.items()
        if isinstance(source, str) and source
    )
    return [pair for pair in pairs if pair is not None]


def clean_pair(source, target):
    """Returns a pair as it is trained on, or `None` where it is left out."""
    source = _clean(source)
    target = _clean(target).translate(COMMA_BELOW)
    source, target = strip_accelerators(source, target)
    unusable = (
        source == target
        or max(len(source), len(target)) > LONGEST
        or not all(map(_has_letters, (source, target)))
    )
    return None if unusable else (source, target)


def strip_accelerators(source, target):
    """Removes the sign of a menu's key where both sides have one.

    Only short labels are touched, with one sign a side. `key_id`, `AT&T`,
    `_exit` and the like are names: the same word in both languages.

    Args:
        source: English text.
        target: Romanian text.

    Returns:
        (source, target); unchanged unless both hold the sign.
    """
    for mark, pattern in _MARKS.items():
        words = [_marked_word(text, mark, pattern) for text in (source, target)]
        if not all(words):
            continue
        name = words[0] == words[1] and not words[0][1].isupper()
        if not name:
            return source.replace(mark, ""), target.replace(mark, "")
    return source, target


def _marked_word(text, mark, pattern):
    """The one word with `mark` in a label, else `None`."""
    if text.count(mark) != 1 or not _LABEL.fullmatch(text):
        return None
    match = pattern.search(text)
    if match is None:
        return None
    before, after = match.group().split(mark)
    # BUS_NAME and Comdat_Key are names; C_onnect and _Cancel are labels.
    return None if before and after[0].isupper() else match.group()


def _has_letters(text):
    return any(map(str.isalpha, PLACEHOLDER.sub("", text)))


def _clean(text):
    text = text.encode("utf-8", "ignore").decode("utf-8")  # lone surrogates
    return " ".join(unicodedata.normalize("NFC", text).split())


def _language_folders():
    """Yields the folders of Romanian that may hold `LC_MESSAGES`."""
    shared = [
        os.path.join(prefix, "share", folder)
        for prefix in (sys.prefix, sys.base_prefix, "/usr", "/usr/local")
        for folder in ("locale", "locale-langpack")
    ]
    shared.append("/usr/lib/libreoffice/program/resource")
    for folder in shared:
        yield from (os.path.join(folder, language) for language in LANGUAGES)
    for root in _package_roots():
        yield from _package_folders(root)


def _package_roots():
    """The folders of installed packages, without files and the current one."""
    roots = [
        *sys.path,
        *site.getsitepackages(),
        "/usr/lib/python3/dist-packages",
    ]
    packages = ("site-packages", "dist-packages")
    return sorted({r for r in roots if os.path.basename(r) in packages})


def _package_folders(root):
    return [
        folder
        for depth in range(PACKAGE_DEPTH + 1)
        for name in PACKAGE_FOLDERS
        for language in LANGUAGES
        for folder in glob.glob(
            os.path.join(glob.escape(root), *"*" * depth, name, language)
        )
    ]
