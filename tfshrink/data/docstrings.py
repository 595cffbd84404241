"""`docstrings`: what the modules of Python's standard library say.

About 1.6 MB of English in 500 modules, a document each: more than ten times
what `pydoc` has to train on, of the same kind, and no passage of it. A module
that repeats passages of another split's is left out.
"""

import ast
import functools
import pathlib
import sysconfig

from tfshrink.data.partition import split_of
from tfshrink.data.pydoc import RELATED
from tfshrink.data.pydoc import shared
from tfshrink.data.pydoc import shingles
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError

SHARES = {"test": 0.1, "train": 0.8, "calibrate": 0.05, "search": 0.05}
SALT = "docstrings/0/"
# Tests say little, and installed packages are not Python's.
SKIPPED = {"idlelib", "lib2to3", "site-packages", "test", "tests", "turtledemo"}
DOCUMENTED = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef


def load_docstrings(split):
    """Returns the documents of one split, in the order of their modules.

    Args:
        split: `"train"`, `"calibrate"`, `"search"` or `"test"`.

    Returns:
        List of strings, one a module: its docstrings, each behind the name of
        what it describes.

    Raises:
        UserError: `split` is none of these, or this Python has no sources.
    """
    if split not in SHARES:
        raise unknown_choice("split", split, SHARES)
    documents = _modules()
    if not any(documents.values()):
        raise UserError(
            "`data` docstrings needs the sources of Python's standard library."
            f" Received: none below {_root()}"
        )
    return documents[split]


@functools.cache
def _modules():
    """`{split: texts}` of the modules that say something of their own."""
    from pydoc_data.topics import topics

    pydoc = set().union(*map(shingles, topics.values()))
    known = {name: set() for name in SHARES}
    found = {name: [] for name in SHARES}
    seen = {""}
    for path in sorted(_root().rglob("*.py")):
        name = path.relative_to(_root())
        if SKIPPED & set(name.parts):
            continue
        text = _text(path)
        passages = shingles(text)
        split = split_of(SALT + name.as_posix(), SHARES)
        others = [known[other] for other in SHARES if other != split]
        if text not in seen and all(
            shared(passages, own) < RELATED for own in (pydoc, *others)
        ):
            known[split] |= passages
            seen.add(text)
            found[split].append(text)
    return found


def _root():
    return pathlib.Path(sysconfig.get_paths()["stdlib"])


def _text(path):
    """The docstrings of a file, in their order."""
    try:
        tree = ast.parse(path.read_text("utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ""  # some files hold other encodings on purpose
    parts = []
    for node in ast.walk(tree):
        text = isinstance(node, DOCUMENTED) and ast.get_docstring(node)
        if text:
            name = getattr(node, "name", path.stem)
            parts.append(f"{name}\n{text}")
    return "\n\n".join(parts)
