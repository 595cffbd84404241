"""Text by name: what `--data` accepts."""

import itertools
import os

from tfshrink.data.docstrings import load_docstrings
from tfshrink.data.local_text import load_local
from tfshrink.data.local_text import READERS
from tfshrink.data.pack import pack
from tfshrink.data.pack import tokenize
from tfshrink.data.pydoc import load_pydoc
from tfshrink.data.squad import answer_rows
from tfshrink.data.squad import load_squad
from tfshrink.data.tfds_source import read_tfds
from tfshrink.errors import UserError

# What `--list` shows.
SOURCES = {
    "pydoc": "the documentation that Python carries (offline)",
    "docstrings": "what Python's modules say of themselves (offline)",
    "squad": "passages of SQuAD v1.1 (TFDS), or its official FILE.json",
    "NAME": "any text set of TensorFlow Datasets: lm1b, wiki40b/en, tfds:NAME",
    "FILE": "a local file: " + " ".join(sorted(READERS)),
    "A+B": "several of these together",
}


def load_documents(name, split="train", limit=None, *, data_dir=None):
    """Returns the documents of a named text.

    Args:
        name: `"pydoc"`, `"docstrings"`, a local file, `"squad"`, a text set of
            TensorFlow Datasets (`"lm1b"`, `"tfds:NAME"`), or several joined by
            `+` or a comma.
        split: `"train"`, `"calibrate"`, `"search"` or `"test"`; they never
            share a document. A local file is read whole for any of them: hold
            out a file of your own.
        limit: How many documents at most, of each text named.
        data_dir: Where TensorFlow Datasets keeps its data. Default: as it
            decides (`TFDS_DATA_DIR`).

    Returns:
        List of strings.

    Raises:
        UserError: The name is unknown (with a suggestion), the text is empty,
            a file is damaged, or the network is needed and missing.
    """
    if limit is not None and limit < 1:
        raise UserError(f"`limit` must be at least 1. Received: {limit}")
    documents = []
    for part in _parts(name):
        found = itertools.islice(_load(part, split, data_dir), limit)
        documents.extend(found)
    return documents


def load_examples(
    name,
    tokenizer,
    context,
    *,
    separator,
    split="train",
    limit=None,
    mode=None,
    data_dir=None,
):
    """Returns rows to train or judge on.

    Args:
        name: As for `load_documents`. Of SQuAD alone the rows are questions
            with answers, and only the answers count.
        tokenizer: As for `tokenize`.
        context: Length of a row, in tokens.
        separator: Token id that ends a document, and pads.
        split: As for `load_documents`.
        limit: As for `load_documents`; of SQuAD, questions.
        mode: `"packed"` or `"padded"`. Default: padded for SQuAD, else packed.
        data_dir: As for `load_documents`.

    Returns:
        `Examples`.
    """
    prompt_lengths = None
    if is_squad(name):
        path = None if name == "squad" else name
        questions = load_squad(path, split, limit, data_dir=data_dir)
        rows, prompt_lengths = answer_rows(questions, tokenizer)
        mode = mode or "padded"
    else:
        texts = load_documents(name, split, limit, data_dir=data_dir)
        rows = tokenize(texts, tokenizer)
    return pack(
        rows,
        context,
        separator=separator,
        mode=mode or "packed",
        prompt_lengths=prompt_lengths,
    )


def is_squad(name):
    """Returns whether `name` is SQuAD: of TFDS, or an official JSON file."""
    return name.split("/")[0] == "squad" or name.endswith(".json")


def _parts(name):
    """Returns the texts that `name` joins; a file may have `+` in its name."""
    if os.path.isfile(name):
        return [name]
    parts = [part.strip() for part in name.replace("+", ",").split(",")]
    if not all(parts):
        raise UserError(
            "`data` must be a name, a file, or several joined by `+`. "
            f"Received: {name!r}"
        )
    return parts


def _load(part, split, data_dir):
    if part == "docstrings":
        return load_docstrings(split)
    if part == "pydoc":
        return load_pydoc(split)
    if is_file(part):
        return load_local(part)
    if is_squad(part):
        questions = load_squad(part, split, data_dir=data_dir)
        return dict.fromkeys(one.context for one in questions)
    return _load_tfds(part, split, data_dir)


def is_file(part):
    """Returns whether a text is a local file, or was meant as one."""
    meant = os.path.splitext(part)[1] in READERS
    return meant or os.path.isfile(part) or part.startswith(("/", ".", "~"))


def _load_tfds(name, split, data_dir):
    empty = True
    for record in read_tfds(name, split, data_dir=data_dir):
        for text in record.popitem()[1]:
            if text.strip():
                empty = False
                yield text
    if empty:
        raise UserError(f"`data`: {name} must hold text. {split} is empty.")
