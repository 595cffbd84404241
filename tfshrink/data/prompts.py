"""Prompts that a compressed model is compared with its reference on."""

import dataclasses
import os

import numpy as np

from tfshrink.data.documents import is_file
from tfshrink.data.documents import load_documents
from tfshrink.data.pack import tokenize
from tfshrink.data.partition import split_of
from tfshrink.data.partition import text_identity
from tfshrink.data.truthful_qa import is_questions
from tfshrink.data.truthful_qa import load_questions
from tfshrink.errors import UserError

SHORTEST = 16  # tokens; what is shorter is no prompt
PASSAGE = 512  # tokens of a local file that stay together
FILE_SHARES = {"search": 0.4, "calibrate": 0.1, "test": 0.5}
REAL = ("lambada", "wikitext", "truthful_qa")


@dataclasses.dataclass(frozen=True)
class Prompts:
    """Rows of tokens, filled up with zeros behind their end.

    Args:
        tokens: int32 `(N, T)`.
        lengths: int32 `(N,)`, tokens of each.
        gold: int32 `(N, T)`: the token that should come next where an answer
            is known, -1 elsewhere.
        names: Of each row, the text it comes from.
        identity: SHA-256 of the texts that were read.
        sources: Of an encoder-decoder, what each translates: `source` and
            `source_mask`, `(N, S)`.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    gold: np.ndarray
    names: tuple
    identity: str
    sources: dict | None = None

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, rows):
        """The `Prompts` of a slice or an array of row numbers."""
        rows = np.arange(len(self))[rows]
        names = tuple(self.names[row] for row in rows)
        own = self.tokens, self.lengths, self.gold
        sources = self.sources and {
            name: value[rows] for name, value in self.sources.items()
        }
        return Prompts(*(x[rows] for x in own), names, self.identity, sources)

    @property
    def mask(self):
        """Boolean `(N, T)`: where there is a token."""
        return np.arange(self.tokens.shape[1]) < self.lengths[:, None]


def load_prompts(data, tokenizer, *, split, count=16, length=64):
    """Reads prompts of a text, or of several.

    Long documents are cut into rows of `length` tokens that do not overlap;
    of all rows, `count` are taken at equal distances, the same every time.

    Args:
        data: As for `load_documents`; `truthful_qa` are questions, and their
            best answers are gold. Several joined by `+` share the count.
        tokenizer: As for `tokenize`.
        split: `"search"`, `"calibrate"` or `"test"`, never mixed; passages of
            a local file are divided among them, too.
        count: Prompts, at most.
        length: Tokens of a prompt, at most.

    Returns:
        `Prompts`.

    Raises:
        UserError: The text has no prompt, or what `load_documents` raises.
    """
    for name, value, least in (
        ("prompts", count, 1),
        ("tokens", length, SHORTEST),
    ):
        if value < least:
            raise UserError(
                f"`{name}` must be at least {least}. Received: {value}"
            )
    parts = [data]
    if not os.path.isfile(data):
        parts = [part.strip() for part in data.split("+")]
    shares = [len(own) for own in np.array_split(np.arange(count), len(parts))]
    rows, names, texts = [], [], []
    for part, share in zip(parts, shares, strict=True):
        own, read = _rows(part, tokenizer, split, length)
        if not own:
            raise UserError(
                f"`data` must hold a prompt of {SHORTEST} tokens or more. "
                f"Received: {part} ({split}), {len(read)} shorter texts"
            )
        places = np.linspace(0, len(own) - 1, min(share, len(own)))
        rows += [own[int(round(place))] for place in places]
        names += [part] * len(places)
        texts += read
    return _filled(rows, names, length, text_identity(texts))


def _rows(part, tokenizer, split, length):
    """`(tokens, gold)` of every prompt of a text, and what was read.

    A local file has no splits of its own: its passages are divided among them,
    so that a search and a certificate never share one.
    """
    local = is_file(part)
    if is_questions(part):
        questions = load_questions(part, split)
        texts = ["\n".join(pair) for pair in questions]
        rows = [_answered(*pair, tokenizer, length) for pair in questions]
        if local:
            rows = [row for row in rows if _split(row[0]) == split]
    else:
        texts = load_documents(part, split)
        pieces = tokenize(texts, tokenizer)
        if local:
            pieces = [
                passage
                for own in pieces
                for passage in _cut(own, PASSAGE)
                if _split(passage) == split
            ]
        rows = [(row, None) for own in pieces for row in _cut(own, length)]
    return [row for row in rows if len(row[0]) >= SHORTEST], texts


def _cut(tokens, length):
    return [tokens[i : i + length] for i in range(0, len(tokens), length)]


def _split(tokens):
    """The split that a passage of a local file belongs to."""
    key = np.ascontiguousarray(tokens, "int32").tobytes().hex()
    return split_of(key, FILE_SHARES)


def _answered(question, answer, tokenizer, length):
    """A question with its answer; gold is the answer, seen one token ahead."""
    asked, told = tokenize([f"Q: {question}\nA:", f" {answer}"], tokenizer)
    tokens = np.concatenate([asked, told])[-length:]
    gold = np.full(len(tokens), -1, "int32")
    first = max(len(tokens) - len(told) - 1, 0)
    gold[first:-1] = tokens[first + 1 :]
    return tokens, gold


def _filled(rows, names, length, identity):
    width = max(len(tokens) for tokens, _ in rows)
    width = min(length, -(-width // SHORTEST) * SHORTEST)
    tokens = np.zeros((len(rows), width), "int32")
    gold = np.full(tokens.shape, -1, "int32")
    for index, (own, known) in enumerate(rows):
        tokens[index, : len(own)] = own
        if known is not None:
            gold[index, : len(own)] = known
    lengths = np.array([len(own) for own, _ in rows], "int32")
    return Prompts(tokens, lengths, gold, tuple(names), identity)
