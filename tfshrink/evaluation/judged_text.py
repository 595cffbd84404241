"""The text that perplexity stands on."""

import dataclasses

import numpy as np

from tfshrink.data.documents import load_documents
from tfshrink.data.examples import Examples
from tfshrink.data.pack import tokenize
from tfshrink.data.pack import windows
from tfshrink.data.partition import text_identity
from tfshrink.errors import UserError
from tfshrink.evaluation.protocol import SPLIT


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgedText:
    """Windows of a text, and what identifies it.

    Args:
        examples: `Examples`: each window, and the tokens that count in it.
        documents: How many documents the text joins.
        identity: SHA-256 of the documents.
    """

    examples: Examples
    documents: int
    identity: str

    @classmethod
    def load(cls, protocol, tokenizer):
        """Reads the test split of the protocol's text.

        Documents follow each other, a blank line between two. With a
        `limit`, no more of them are read than its windows need.

        Args:
            protocol: `Protocol`.
            tokenizer: As for `tokenize`.

        Raises:
            UserError: The text is unknown, empty or shorter than a window.
        """
        context, stride = protocol.context, protocol.stride
        room = None
        if protocol.limit is not None:
            room = context + (protocol.limit - 1) * stride
        documents = load_documents(protocol.data, SPLIT, limit=room)
        stream, used = _join(documents, tokenizer, room)
        if len(stream) < context:
            raise UserError(
                f"`data` must hold at least one window of --context={context} "
                f"tokens. Received: {protocol.data}, {len(stream)} tokens"
            )
        examples = windows(stream[:room], context, stride)
        examples.mask[:, : protocol.first] = 0
        return cls(
            examples=examples,
            documents=used,
            identity=text_identity(documents[:used]),
        )

    @property
    def tokens(self):
        """How many tokens count."""
        return self.examples.targets

    def describe(self, protocol):
        """One line that says how the perplexity is measured."""
        first = protocol.first
        behind = f" (from token {first} on)" if first else ""
        return (
            f"{protocol.data} ({SPLIT}, SHA-256 {self.identity[:12]}): "
            f"{self.tokens:,} tokens counted in {len(self.examples)} windows, "
            f"context {protocol.context}{behind}, stride {protocol.stride}, "
            f"{protocol.dtype}"
        )


def _join(documents, tokenizer, room):
    """Returns the tokens of the first documents, and how many were read."""
    pieces, length, used = [], 0, 0
    for document in documents:
        pieces += tokenize([f"{document}\n\n"], tokenizer)
        length += len(pieces[-1])
        used += 1
        if room is not None and length >= room:
            break
    return np.concatenate(pieces or [np.zeros(0, "int32")]), used
