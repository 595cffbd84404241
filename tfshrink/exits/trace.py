"""What the exits of a model say along its own text."""

import dataclasses

import numpy as np

from tfshrink.models.exit_states import ExitStates
from tfshrink.models.generation import Generator
from tfshrink.ops.confidence import CONFIDENCES

BATCH = 16  # prompts that are continued at once


@dataclasses.dataclass(frozen=True)
class ExitTrace:
    """Answers of all exits to every token of a text, E exits, N rows.

    Args:
        layers: Blocks that have an exit behind them, E.
        depth: Blocks of the model.
        token: int32 `(E, N, T)`, what each exit would say.
        last_token: int32 `(N, T)`, what the last layer says.
        light_token: int32 `(N, T)`, what the light head makes of it.
        confidence: Name to float32 `(E, N, T)`.
        nats: float32 `(E, N, T)`, an exit's surprise at the text's next token.
        last_nats: float32 `(N, T)`, that of the last layer.
        made: Boolean `(N, T)`: tokens that count.
        step: int32 `(N, T)`, tokens that were made before each.
    """

    layers: tuple
    depth: int
    token: np.ndarray
    last_token: np.ndarray
    light_token: np.ndarray
    confidence: dict
    nats: np.ndarray
    last_nats: np.ndarray
    made: np.ndarray
    step: np.ndarray

    def __getitem__(self, rows):
        """The trace of a slice or an array of row numbers."""
        every = {name: x[:, rows] for name, x in self.confidence.items()}
        return dataclasses.replace(
            self,
            confidence=every,
            **{
                name: getattr(self, name)[:, rows] for name in ("token", "nats")
            },
            **{
                name: getattr(self, name)[rows]
                for name in (
                    "last_token",
                    "light_token",
                    "last_nats",
                    "made",
                    "step",
                )
            },
        )

    def __len__(self):
        return len(self.made)

    @property
    def right(self):
        """Boolean `(E, N, T)`: the full model says the same."""
        return self.token == self.last_token

    def rights(self, head="full"):
        """`right`, and at the end that of tokens which leave nowhere.

        Args:
            head: As in `ExitSpec`.

        Returns:
            Boolean `(E + 1, N, T)`.
        """
        last = self.light_token if head == "light" else self.last_token
        return np.concatenate([self.right, (last == self.last_token)[None]])

    def shares(self, total=None):
        """Share of the text that is made before each token, float32 `(N, T)`.

        Args:
            total: Tokens that are to be made; default: the most that were.
        """
        total = total or int(self.step.max()) + 1
        return (self.step / total).astype("float32")


def trace_rows(
    model, rows, first, lengths, *, bits=None, codecs=None, sources=None
):
    """Traces the exits of a model along rows of text.

    Args:
        model: Built `Decoder` with exits.
        rows: Integer `(N, T)`, filled up behind their end.
        first: Integer `(N,)`: column of the first token that counts as made;
            1 at least.
        lengths: Integer `(N,)`, tokens of each row.
        bits: As `Decoder` takes them.
        codecs: As `ExitStates` takes them.
        sources: As `ExitStates.said` takes them.

    Returns:
        `ExitTrace` of `(N, T - 1)` tokens.
    """
    said = ExitStates(model, codecs).said(rows, bits, sources)
    # A column's answer is about the token that follows.
    columns = np.arange(1, rows.shape[1])[None]
    first, lengths = np.asarray(first), np.asarray(lengths)
    return ExitTrace(
        layers=tuple(model.exits.layers),
        depth=model.config.layers,
        token=said["token"],
        last_token=said["last_token"],
        light_token=said["light_token"],
        confidence={name: said[name] for name in CONFIDENCES},
        nats=said["nats"],
        last_nats=said["last_nats"],
        made=(columns >= first[:, None]) & (columns < lengths[:, None]),
        step=np.maximum(columns - first[:, None], 0).astype("int32"),
    )


def trace_generated(
    model, prompts, new, *, bits=None, codecs=None, progress=None
):
    """Traces the exits along what the full model writes, greedily.

    Args:
        model: Built `Decoder` with exits.
        prompts: `Prompts`.
        new: Tokens to write, at most.
        bits: As `Decoder` takes them.
        codecs: `BlockCodecs` of the K/V cache, or `None`.
        progress: Called with the prompts that are done.

    Returns:
        `(trace, rows)`: `ExitTrace` of the new tokens; the token lists, prompt
        and continuation.
    """
    lists = [
        row[:length].tolist()
        for row, length in zip(prompts.tokens, prompts.lengths, strict=True)
    ]
    generator = Generator(model, bits=bits, codecs=codecs)
    rows = []
    for start in range(0, len(lists), BATCH):
        part = slice(start, start + BATCH)
        own = lists[part]
        made = generator.generate(
            own,
            max_new_tokens=new,
            sources=prompts[part].sources,
            temperature=0.0,
        )
        rows += [a + b for a, b in zip(own, made, strict=True)]
        if progress:
            progress(len(rows), 0)
    lengths = np.array([len(row) for row in rows])
    width = int(prompts.tokens.shape[1]) + new
    filled = np.zeros((len(rows), width), "int32")
    for target, row in zip(filled, rows, strict=True):
        target[: len(row)] = row
    trace = trace_rows(
        model,
        filled,
        prompts.lengths,
        lengths,
        bits=bits,
        codecs=codecs,
        sources=prompts.sources,
    )
    return trace, rows
