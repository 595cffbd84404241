"""What a decoder's exits see and say of text, all layers run."""

import contextlib

import numpy as np
from keras import ops

from tfshrink.backend import Compiled
from tfshrink.layers.light_head import candidate_logits
from tfshrink.ops import confidence

ROWS = 4  # of a call


class ExitStates:
    """Runs rows of text through all blocks and all exits.

    With exact keys and values behind skipped layers (`missing=lazy`) a token
    that leaves early changes nothing that others see: one pass over a text
    tells what each policy would do with it.

    Args:
        model: Built `Decoder` with exits.
        codecs: `BlockCodecs` that older keys and values are seen through, or
            `None`.
    """

    def __init__(self, model, codecs=None):
        self.model = model
        self.codecs = codecs
        self._states = Compiled(self._run, model.variables)
        self._said = Compiled(self._say, model.variables)

    def states(self, rows, bits=None, sources=None):
        """Yields the states of a few rows at a time.

        Args:
            rows: Integer `(N, T)`, NumPy.
            bits: As `Decoder` takes them.
            sources: Of an encoder-decoder, `source` and `source_mask`
                `(N, S)`.

        Yields:
            Dict of float32 NumPy arrays: `behind` `(exits + 1, B, T, C)`, the
            embedded tokens and the states behind each exit's block; `hidden`
            `(exits, B, T, C)`, what the head reads there; `final` `(B, T, C)`,
            what it reads in the end.
        """
        for own, beside, count in _parts(rows, sources):
            found = self._states(own, bits, beside)
            yield {
                name: _float32(value)[..., :count, :, :]
                for name, value in found.items()
            }

    def said(self, rows, bits=None, sources=None):
        """What each exit says about each token of a text.

        Args:
            rows: Integer `(N, T)`, NumPy.
            bits: As `Decoder` takes them.
            sources: As in `states`.

        Returns:
            Dict of NumPy arrays `(exits, N, T - 1)` about the token that
            follows: one float32 for each of `confidence.CONFIDENCES`; `token`,
            int32, the likeliest candidate; `nats`, float32, surprise at the
            next token of the text, through the full head. Of the last layer,
            `(N, T - 1)`: `last_token`, `last_nats`, and `light_token`, which
            the light head makes of it.
        """
        parts = []
        for own, beside, count in _parts(rows, sources):
            found = self._said(own, bits, beside)
            parts.append(
                {
                    name: np.asarray(ops.convert_to_numpy(x))[..., :count, :]
                    for name, x in found.items()
                }
            )
        return {
            name: np.concatenate([part[name] for part in parts], axis=-2)
            for name in parts[0]
        }

    def _run(self, tokens, bits, sources):
        model, taps = self.model, []
        beside = contextlib.nullcontext()
        if sources:
            memory = model.remember(**sources, bits=bits)
            beside = model.remembering(memory)
        with beside:
            final = model.hidden(
                tokens, bits, self.codecs, tap=lambda *own: taps.append(own)
            )
        positions = ops.arange(tokens.shape[1])[None]
        behind = [model.embed(tokens, positions, bits)[0]]
        behind += [states for states, _ in taps]
        hidden = [
            model.for_head(head(x, rotation=rotation)[0], bits)
            for head, (x, rotation) in zip(model.exit_heads, taps, strict=True)
        ]
        return {
            "behind": ops.stack(behind),
            "hidden": ops.stack(hidden),
            "final": final,
        }

    def _say(self, tokens, bits, sources):
        found = self._run(tokens[:, :-1], bits, sources)
        kernel = self.model.head_kernel(bits)
        last_token, last_nats = _read(found["final"], kernel, tokens[:, 1:])
        exits = []
        for index, head in enumerate(self.model.exit_heads):
            hidden = found["hidden"][index]
            pair = found["behind"][index + 1], found["behind"][index]
            own = exit_answers(self.model, head, hidden, pair, kernel)
            own["token"] = own.pop("candidates")[..., 0]
            own["nats"] = _read(hidden, kernel, tokens[:, 1:])[1]
            exits.append(own)
        stacked = {
            name: ops.stack([own[name] for own in exits]) for name in exits[0]
        }
        last = {"last_token": last_token, "last_nats": last_nats}
        light = last_token
        if self.model.light_head is not None:
            light = proposed(self.model, found["final"], kernel)[1][..., 0]
        return {**stacked, **last, "light_token": light}


def proposed(model, hidden, kernel):
    """Candidates of the light head, inside a compiled function.

    Args:
        model: Built `Decoder` with exits.
        hidden: `(B, T, C)`, what the model's head reads.
        kernel: The model's head `(V, C)`.

    Returns:
        `(logits, tokens)`: float32 and int32 `(B, T, K)`, the likeliest first.
    """
    light, count = model.light_head, model.exits.candidates
    return ops.map(
        lambda row: candidate_logits(light, kernel, row, count), hidden
    )


def exit_answers(model, head, hidden, pair, kernel):
    """What one exit says, inside a compiled function.

    Args:
        model: Built `Decoder` with exits.
        head: `ExitHead` of the exit.
        hidden: `(B, T, C)`, what the model's head reads there.
        pair: States `(B, T, C)` behind the exit's block, and at the exit
            before it.
        kernel: The model's head `(V, C)`.

    Returns:
        Dict: float32 `(B, T)` for each of `confidence.CONFIDENCES`, and
        `candidates`, int32 `(B, T, K)`, the likeliest first.
    """
    logits, tokens = proposed(model, hidden, kernel)
    found = {name: of(logits) for name, of in confidence.OF_LOGITS.items()}
    found["classifier"] = ops.sigmoid(head.sure(hidden))
    found["cosine"] = confidence.state_cosine(*pair)
    return {**found, "candidates": tokens}


def _read(hidden, kernel, targets):
    """Likeliest token and surprise at `targets`, `(B, T)`, row by row."""

    def row(pair):
        states, own = pair
        logits = ops.matmul(states, ops.transpose(kernel))
        logits = ops.cast(logits, "float32")
        gold = ops.take_along_axis(logits, own[:, None], axis=-1)[:, 0]
        nats = ops.logsumexp(logits, axis=-1) - gold
        return ops.cast(ops.argmax(logits, axis=-1), "int32"), nats

    return ops.map(row, (hidden, targets))


def _parts(rows, sources):
    """Rows in calls of one shape: `(rows, sources, how many are real)`."""
    rows = np.asarray(rows, "int32")
    for start in range(0, len(rows), ROWS):

        def part(values, start=start):
            own = values[start : start + ROWS]
            # A row without a source that counts would be no number.
            return np.pad(own, ((0, ROWS - len(own)), (0, 0)), mode="edge")

        beside = {name: part(x) for name, x in (sources or {}).items()}
        yield part(rows), beside, min(ROWS, len(rows) - start)


def _float32(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))
