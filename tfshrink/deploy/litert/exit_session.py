"""One sequence in an exported decoder whose tokens may leave early."""

import numpy as np

from tfshrink.deploy import exit_rule
from tfshrink.deploy.litert.bound_graphs import BoundGraphs
from tfshrink.deploy.litert.bound_graphs import heads_of
from tfshrink.deploy.litert.exact_columns import ExactColumns
from tfshrink.deploy.litert.session import open_litert
from tfshrink.errors import UserError
from tfshrink.evaluation.environment import cores
from tfshrink.exit_spec import NEVER
from tfshrink.quiet import closed_stderr

CANDIDATES = "candidates"


def segment_name(index, many):
    """Key of the signature of a segment, for one token or for several."""
    return f"segment_{index}_many" if many else f"segment_{index}"


class ExitSession:
    """Takes tokens as far as each needs; the host stops between segments.

    A token that leaves waits, with its state, in front of the next segment;
    when a later one goes that deep, all that wait go with it in one call, so
    that keys and values are those of a full computation. Each segment has a
    cache of its own, as long as what it has seen. The tokens of a prompt but
    the last run through all blocks.

    Args:
        path: A `.tflite` file with the graphs of `ExitGraphs`.
        shape: As of a `Session`.
        spec: `ExitSpec` with the layers whose exits the file holds.
        threads: Of a call; `None` takes all cores.
        builtin: As of a `Session`.

    Attributes:
        rule: `ExitRule`.
        depth: Blocks that the newest token ran to give its logits.

    Raises:
        UserError: LiteRT cannot read the file, or it holds other graphs.
    """

    def __init__(self, path, shape, spec, *, threads=None, builtin=False):
        self.path = path
        self.shape = shape
        self.layers = spec.layers
        self.rule = exit_rule.ExitRule(spec, len(spec.layers))
        self.depth = 0
        self._segments = []
        self._model = open_litert(path, threads or cores(), builtin)
        self._check()
        for index in range(len(self.layers) + 1):
            self._segments.append(_Segment(self._model, index, shape))
        self._candidates = self._open_candidates()
        self._waiting = [[] for _ in self.layers]  # states (C,), oldest first

    def _check(self):
        found = self._model.get_signature_list()
        wanted = [
            segment_name(index, many)
            for index in range(len(self.layers) + 1)
            for many in (False, True)
        ]
        missing = sorted({CANDIDATES, *wanted} - set(found))
        if missing:
            raise UserError(
                f"`{self.path}` must be an export with exits behind "
                f"{len(self.layers)} blocks, with the signatures "
                f"{', '.join(wanted)}. It lacks {', '.join(missing)}"
            )

    def _open_candidates(self):
        details = self._model.get_output_tensor_details(CANDIDATES)
        count = int(details["tokens"]["shape"][0])
        sizes = {"hidden": self.shape["width"]}
        return BoundGraphs(
            self._model, [CANDIDATES], lambda _, own, __: sizes.get(own, count)
        )

    @property
    def length(self):
        """Tokens of the sequence so far."""
        return self._segments[0].cache.length

    @property
    def waiting(self):
        """How many of them wait in front of each segment but the first."""
        return [len(states) for states in self._waiting]

    def close(self):
        """Frees the model; the session cannot be used any more."""
        with closed_stderr():  # LiteRT says what it destroys
            for segment in self._segments:
                segment.graphs.clear()
            self._segments, self._candidates = [], None
            self._model = None

    def __del__(self):
        if getattr(self, "_model", None) is not None:
            self.close()

    def reset(self):
        """Forgets the sequence."""
        self.rewind(0)

    def rewind(self, length):
        """As `Session.rewind`."""
        for segment in self._segments:
            segment.cache.rewind(length)
        for segment, states in zip(
            self._segments[1:], self._waiting, strict=True
        ):
            del states[max(0, length - segment.cache.length) :]
        return self.length

    def begin(self, count):
        """Before a text of so many new tokens at most: schedules begin."""
        self.rule.begin(count)

    def prefill(self, tokens):
        """Appends tokens to the sequence; the last may leave early.

        Args:
            tokens: Token ids, at least one.

        Returns:
            Logits of the last one, float32 `(V,)`: `NEVER` of what the exit it
            left at does not propose.
        """
        parts = self._segments[0].cache.parts(len(tokens))
        if not parts:
            raise UserError("`tokens` must hold at least one. Received: none")
        for segment in self._segments:
            segment.cache.begin(parts[0].stop)
        for part in parts:
            logits = self._append(tokens[part], part.stop == len(tokens))
        return logits

    def step(self, token):
        """Appends one token; returns its logits as `prefill` does."""
        return self._append([token], True)

    def _append(self, tokens, last):
        """Runs tokens; where they are the last ones, the newest may leave."""
        stop, context = self.length + len(tokens), self.shape["context"]
        if stop > context:
            raise UserError(
                f"A sequence must have at most {context} tokens, the context "
                f"of {self.path}. Received: {stop}"
            )
        found = self._segments[0].run(
            "tokens", np.asarray(tokens, "int32"), last
        )
        earlier, left = found["embedded"], None
        for index, layer in enumerate(self.layers):
            states = found["states"].reshape(-1, self.shape["width"])[::-1]
            waiting = self._waiting[index]
            waiting.extend(states.copy())
            stays = 0
            if last and left is None:
                left = self._asked(index, found, earlier, len(tokens))
                stays = int(left is not None)
            if stays:
                self.depth = layer
                if len(tokens) == 1:
                    break
            # Behind the newest token, those of a prompt go on without it.
            earlier, count = waiting[-1], len(waiting) - stays
            found = self._segments[index + 1].run(
                "states", np.stack(waiting[:count]), last
            )
            del waiting[:count]
        if last:
            self.rule.made(left is not None)
        if left is not None:
            return left
        self.depth = self.shape["layers"]
        return found["logits"]

    def _asked(self, index, found, earlier, new):
        """Logits `(V,)` of a token that leaves at an exit; else `None`.

        Args:
            index: Number of the exit.
            found: Arrays of the segment in front of it.
            earlier: The newest token's state `(C,)` at the exit before.
            new: How many tokens came with it, itself among them.
        """
        rule, spec = self.rule, self.rule.spec
        # The others of a prompt do not wait.
        waits = self.length - self._segments[-1].cache.length
        if (waits if new == 1 else 1) >= spec.pending or rule.limit(index) >= 1:
            return None
        proposed, gap = None, 1.0
        if rule.reads_logits:
            proposed = self._proposed(found["hidden"])
            gap = exit_rule.margin(proposed[0])
        if spec.confidence == "classifier":
            sure = exit_rule.classifier(found["sure"][0])
        elif spec.confidence == "cosine":
            sure = exit_rule.state_cosine(self._waiting[index][-1], earlier)
        else:
            sure = exit_rule.OF_LOGITS[spec.confidence](proposed[0])
        if not rule.leaves(index, sure, gap):
            return None
        logits, tokens = proposed or self._proposed(found["hidden"])
        full = np.full(self.shape["vocabulary"], NEVER, "float32")
        full[tokens] = logits
        return full

    def _proposed(self, hidden):
        """Candidates' logits and tokens `(K,)`, the likeliest first."""
        found = self._candidates.run(CANDIDATES, 1, {"hidden": hidden})
        order = np.argsort(-found["logits"], kind="stable")
        return found["logits"][order], found["tokens"][order]


class _Segment:
    """The graphs of one segment and their cache."""

    def __init__(self, model, index, shape):
        self.index = index
        self.shape = shape
        inputs = model.get_signature_list()[segment_name(index, False)]
        names = inputs["inputs"]
        blocks = sum(name.startswith("keys_") for name in names)
        own = segment_name(index, False), blocks, shape["head_dim"]
        self._heads = heads_of(model, *own)
        self.cache = ExactColumns(self._heads, shape["head_dim"])
        self._names = [segment_name(index, many) for many in (False, True)]
        self.graphs = BoundGraphs(model, self._names, self._size, self.cache)

    def run(self, name, given, last):
        """Runs new tokens and keeps their keys and values.

        Args:
            name: Of the input, `"tokens"` or `"states"`.
            given: `(T,)` or `(T, C)`, the oldest first.
            last: As of `ExactColumns.append`.

        Returns:
            The graph's arrays by name; the newest token is the first row.
        """
        count, start = len(given), self.cache.length
        places = np.arange(start, start + count, dtype="int32")
        arrays = self.graphs.run(
            self._names[count > 1],
            count,
            {name: given[::-1].reshape(-1), "positions": places[::-1]},
        )
        shape = self._heads[-1], count, -1
        new = (
            arrays[f"new_{kind}"].reshape(shape)[:, ::-1]
            for kind in ("keys", "values")
        )
        self.cache.append(*new, last)
        return arrays

    def _size(self, _, name, count):
        """As `Session` has it."""
        shape = self.shape
        fixed = {
            "tokens": count,
            "positions": count,
            "states": count * shape["width"],
            "embedded": shape["width"],
            "hidden": shape["width"],
            "sure": 1,
            "logits": shape["vocabulary"],
        }
        keys = int(self._heads[-1]) * shape["head_dim"] * count
        return fixed.get(name, keys)
