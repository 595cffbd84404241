"""Judges plans by how far their model strays from its reference."""

import dataclasses

import numpy as np
from keras import ops

from tfshrink import backend
from tfshrink.errors import UserError
from tfshrink.layer_groups import BLOCK_GROUPS
from tfshrink.models.block_forward import BlockForward
from tfshrink.models.coded_blocks import CodedBlocks
from tfshrink.models.ordering import HEADS
from tfshrink.ops import divergence
from tfshrink.stl.token_scores import OF_LOGITS
from tfshrink.stl.token_scores import TokenScores
from tfshrink.stl.token_scores import TOP

ROWS = 256  # tokens whose logits are there at once
# Signals that are always measured, and more that cost time of their own.
USUAL = ("jsd", "attention", "context", "factual", "max_probability_deviation")


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What one plan did.

    Args:
        signals: Dict of name to `(N, T)`, NumPy.
        lengths: Tokens of each prompt `(N,)`; the rest is padding.
        block_attention: `(L, N, T)` cosine of the attention, block by block.
        exits: int32 `(N, T)`, number of the exit that each token left at, that
            of the last and one more where none; `None` without exits.
    """

    signals: dict
    lengths: np.ndarray
    block_attention: np.ndarray
    exits: np.ndarray | None = None

    @property
    def means(self):
        """Means over all tokens, and `perplexity` of those that follow."""
        length = next(iter(self.signals.values())).shape[1]
        mask = np.arange(length) < self.lengths[:, None]
        found = {
            name: float(values[mask].mean(dtype="float64"))
            for name, values in self.signals.items()
        }
        # The last token of a prompt has none behind it.
        nats = self.signals["nats"][:, :-1][mask[:, 1:]]
        found["perplexity"] = float(np.exp(nats.mean(dtype="float64")))
        return found


class PlanJudge:
    """Runs plans over prompts and compares each token with the reference.

    A plan that begins like the one that was kept (`keep`) runs only from the
    first block that differs.

    Args:
        model: Built `Decoder` with a `PrecisionConfig`.
        prompts: `Prompts`.
        reference: `Reference` of the same prompts.
        more: Signals to measure beside the usual ones: any of `OF_LOGITS`
            (which brings all of them) and `top5_overlap`.

    Attributes:
        blocks: How many blocks were run, over all plans.

    Example:
        >>> judge = PlanJudge(model, prompts, reference_run(source, prompts))
        >>> judgement = judge.measure(plan_tensor(config, plan))
        >>> requirement.margins(judgement.signals, judgement.lengths)
    """

    def __init__(self, model, prompts, reference, *, more=()):
        self.model = model
        self._of_logits = bool(set(more) & set(OF_LOGITS))
        self._top = TOP in more
        self.blocks = 0
        self.forward = BlockForward(model, prompts.tokens.shape[1])
        self._coded = {}  # `CodedBlocks` by codecs
        self._scores = TokenScores(self._of_logits, self._top)
        self._cosine = backend.Compiled(divergence.cosine)
        self.look_at(prompts, reference)

    def look_at(self, prompts, reference):
        """Judges on other prompts of the same length from now on.

        Args:
            prompts: `Prompts`.
            reference: `Reference` of these.
        """
        self.prompts = prompts
        self._kept = self._last = None
        self._maps = [
            _as_sorted(own, block)
            for own, block in zip(
                reference.maps, self.model.blocks, strict=True
            )
        ]
        self._hidden = ops.convert_to_tensor(reference.hidden)
        self._chunks = list(self._cut(reference))

    @property
    def reference_perplexity(self):
        """Perplexity of the prompts in the reference run."""
        shape, found = self.prompts.tokens.shape, []
        for first, start, _, known in self._chunks:
            found.append(known["nats"][start - first :])
        nats = np.concatenate(found).reshape(shape)[:, :-1]
        nats = nats[self.prompts.mask[:, 1:]]
        return float(np.exp(nats.mean(dtype="float64")))

    def _cut(self, reference):
        """What `_scores` needs of the reference, `ROWS` tokens at a time."""
        width = reference.logits.shape[-1]
        logits = reference.logits.reshape(-1, width)
        watched = np.where(
            self.prompts.gold >= 0, self.prompts.gold, reference.top
        )
        following = np.pad(self.prompts.tokens[:, 1:], ((0, 0), (0, 1)))
        size = min(ROWS, len(logits))
        for start in range(0, len(logits), size):
            # The last piece begins earlier, so that all have one size.
            first = min(start, len(logits) - size)
            part = slice(first, first + size)
            own = ops.convert_to_tensor(logits[part])
            p = divergence.probabilities(own)
            tokens = [
                ops.convert_to_tensor(x.reshape(-1)[part].astype("int32"))
                for x in (watched, following)
            ]
            known = divergence.compare(p, own, *tokens)
            keep = self._of_logits or self._top
            yield (
                first,
                start,
                (p, own if keep else None, *tokens),
                {name: ops.convert_to_numpy(x) for name, x in known.items()},
            )

    def measure(self, bits=None, codecs=None, exits=None):
        """Judges one plan.

        Args:
            bits: As `structure.plan_tensor` makes them; `None` is the model
                in full precision.
            codecs: `BlockCodecs` of the K/V cache that the prompts are read
                through, compiled once; `None` is a plain forward pass.
            exits: `Leaving`, by which tokens leave early; `None` takes all
                through all blocks. What is compared is what generation draws
                a token from, a few candidates; likelihoods and signals of
                `OF_LOGITS`, which may be infinite there, are those of the
                exit's state under the whole head. The attention is that of
                all blocks: those that a token skips make its keys and values.

        Returns:
            `Judgement`.
        """
        judgement, states, cosines = self._run(bits, codecs, exits)
        self._last = (_rows(bits, self.model), codecs, states, cosines)
        return judgement

    def adopt(self):
        """Keeps what went into each block of the last plan."""
        self._kept = self._last

    def keep(self, bits=None, codecs=None, exits=None):
        """Judges a plan and keeps what went into each of its blocks."""
        self._kept = None
        judgement = self.measure(bits, codecs, exits)
        self.adopt()
        return judgement

    def _run(self, bits, codecs, exits):
        states, cosines, first = self._beginning(bits, codecs)
        x, forward = states[first], self._forward(codecs)
        for index in range(first, len(self.model.blocks)):
            x, cosine = forward.block_and_cosine(
                index, x, self._maps[index], bits
            )
            states.append(x)
            cosines.append(cosine)
            self.blocks += 1
        hidden, left = self.forward.finish(x, bits), None
        if exits is not None:
            head, mask = self.forward.head(bits), self.prompts.mask
            left = exits(states, hidden, head, bits, mask)
            hidden = left.hidden
        attention = np.stack([ops.convert_to_numpy(own) for own in cosines])
        signals = {
            **self._compared(hidden, bits, left),
            "attention": attention.min(axis=0),
            "context": ops.convert_to_numpy(self._cosine(self._hidden, hidden)),
        }
        own = Judgement(
            signals,
            np.asarray(self.prompts.lengths),
            attention,
            left and left.exits,
        )
        return own, states, cosines

    def _forward(self, codecs):
        """What runs blocks: as they are, or with coded keys and values."""
        if codecs is None:
            return self.forward
        if codecs not in self._coded:
            self._coded[codecs] = CodedBlocks(self.forward, codecs)
        return self._coded[codecs]

    def _beginning(self, bits, codecs):
        """What goes into the first blocks, and the first that must run."""
        if self._kept is not None and self._kept[1] is codecs:
            rows, _, states, cosines = self._kept
            own = _rows(bits, self.model)
            count = len(BLOCK_GROUPS) * len(self.model.blocks)
            differs = np.any(own != rows, axis=1)
            if not differs[count:].any():
                first = np.argmax(np.append(differs[:count], True))
                first = int(first) // len(BLOCK_GROUPS)
                return states[: first + 1], cosines[:first], first
        return [self.forward.embed(self.prompts.tokens, bits)], [], 0

    def _compared(self, hidden, bits, left):
        """Signals of the logits, `(N, T)` each."""
        shape = self.prompts.tokens.shape
        rows = ops.reshape(hidden, (shape[0] * shape[1], hidden.shape[-1]))
        head, found = self.forward.head(bits), {}
        for first, start, chunk, known in self._chunks:
            size = len(known["peak"])
            part = slice(first, first + size)
            gone = left and (
                left.early.reshape(-1)[part],
                left.candidates.reshape(len(rows), -1)[part],
            )
            own = self._scores(rows[part], head, chunk, gone)
            own = {name: ops.convert_to_numpy(x) for name, x in own.items()}
            peak, watched = own.pop("peak"), own.pop("watched")
            own["factual"] = np.exp(watched - known["watched"])
            own["max_probability_deviation"] = np.abs(peak - known["peak"])
            for name, values in own.items():
                found.setdefault(name, []).append(values[start - first :])
        return {
            name: np.concatenate(parts).reshape(shape)
            for name, parts in found.items()
        }


def _as_sorted(maps, block):
    """The reference's attention, heads in the order of the block."""
    if HEADS in block.order:
        order = np.asarray(block.order[HEADS])
        heads = np.arange(maps.shape[1]).reshape(len(order), -1)
        maps = maps[:, heads[order].reshape(-1)]
    return ops.convert_to_tensor(np.ascontiguousarray(maps))


def _rows(bits, model):
    """Bits as `(groups, 3)`, whatever a plan removes or prunes."""
    groups = len(model.groups())
    if bits is None:
        bits = np.full(groups, 16, "int32")
    bits = np.asarray(bits, "int32").reshape(groups, -1)
    return np.pad(bits, ((0, 0), (0, 3 - bits.shape[1])))


def check_observable(requirement):
    """Raises a `UserError` if a simulated plan cannot show a signal."""
    for name in requirement.signals:
        if name not in (*USUAL, "logit_cosine", TOP):
            raise UserError(
                f"`formula` must not speak of {name} here: it is measured on "
                "an exported artefact (bin/certify --artifact). Received: "
                f"{requirement.formula}"
            )
