"""Beam search over the cache of a decoder, in one compiled loop."""

import functools

import keras
import numpy as np
from keras import ops

from tfshrink.backend import Compiled
from tfshrink.errors import UserError
from tfshrink.models.effective_weights import bits_beside
from tfshrink.models.effective_weights import EffectiveWeights
from tfshrink.models.effective_weights import MEMORY
from tfshrink.models.effective_weights import weights_in_force
from tfshrink.models.full_walk import FullWalk

NEVER = -1e9  # score of what must not come
FILLED = 0  # token behind the end of a hypothesis


class BeamSearch:
    """The likeliest translations that a beam finds.

    Hypotheses that ended stay in the beam as they are. The best is that of
    the highest score by `((5 + length) / 6) ** penalty`.

    Args:
        model: Built `EncoderDecoder`.
        bits: As `Decoder` takes them, or `None`.
        beams: Hypotheses K a source.
        penalty: Exponent of the length penalty.

    Example:
        >>> search = BeamSearch(model, beams=4)
        >>> search.translate(source_rows(sources, 32, pad=0, end=2), 64)
        [[17, 240, 9], [88, 60]]

    Reference: Wu et al., 1609.08144, section 7 (length penalty).
    """

    def __init__(self, model, *, bits=None, beams=4, penalty=0.6):
        if beams < 1:
            raise UserError(f"`beams` must be at least 1. Received: {beams}")
        self.model = model
        self.bits = bits
        self.beams = beams
        self.penalty = penalty
        self.walk = FullWalk(model)
        self.prepare = EffectiveWeights(model)
        self.remember = Compiled(model.remember, model.variables)
        self._search = {}

    def translate(self, sources, count):
        """Finds the best target of each source.

        Args:
            sources: Of `pair_batches.source_rows`: `source` and
                `source_mask`, `(B, S)`.
            count: Tokens of a target, at most.

        Returns:
            List of B token lists, without start and end.
        """
        bits = self.bits
        if bits is not None:
            bits = ops.convert_to_tensor(np.asarray(bits, "int32"))
        wide = {
            name: np.repeat(np.asarray(value), self.beams, axis=0)
            for name, value in sources.items()
        }
        weights = dict(self.prepare(bits))
        weights[MEMORY] = self.remember(
            wide["source"], wide["source_mask"], bits
        )
        if count not in self._search:
            self._search[count] = Compiled(
                functools.partial(self._run, count), self.model.variables
            )
        rows = len(wide["source"])
        cache = self.walk.create(rows, count)
        tokens, scores = (
            ops.convert_to_numpy(x)
            for x in self._search[count](
                weights, bits_beside(self.model, bits), cache
            )
        )
        end = self.model.config.eos[0]
        best = []
        for own, score in zip(tokens, scores, strict=True):
            row = own[score.argmax()].tolist()
            best.append(row[: row.index(end)] if end in row else row)
        return best

    def _run(self, count, weights, bits, cache):
        """Tokens `(B, K, count)` and their scores `(B, K)`."""
        config, beams = self.model.config, self.beams
        rows = keras.tree.flatten(cache)[0].shape[0]
        batch = rows // beams
        first = np.full((batch, beams), NEVER, "float32")
        first[:, 0] = 0.0
        rest = np.full(config.vocabulary, NEVER, "float32")
        rest[FILLED] = 0.0
        pad = ops.zeros((rows,), "int32")
        offsets = ops.arange(batch, dtype="int32")[:, None] * beams

        def more(step, tokens, scores, done, *_):
            return ops.logical_and(step < count, ~ops.all(done))

        def step_on(step, tokens, scores, done, last, lengths, cache):
            logits, _, cache = self.walk.next(
                ops.reshape(last, (-1,)), cache, step, pad, bits, None, step, {}
            )
            nats = ops.log_softmax(logits)
            nats = ops.reshape(nats, (batch, beams, -1))
            nats = ops.where(done[..., None], rest, nats)
            every = ops.reshape(scores[..., None] + nats, (batch, -1))
            scores, places = ops.top_k(every, beams)
            places = ops.cast(places, "int32")
            parents = places // config.vocabulary
            last = places % config.vocabulary

            def inherited(x):
                own = parents
                if len(x.shape) == 3:
                    own = ops.repeat(own[..., None], x.shape[-1], axis=-1)
                return ops.take_along_axis(x, own, axis=1)

            was_done = inherited(done)
            tokens = ops.slice_update(
                inherited(tokens), (0, 0, step), last[..., None]
            )
            lengths = inherited(lengths) + ops.cast(~was_done, "float32")
            chosen = ops.reshape(offsets + parents, (-1,))
            cache = keras.tree.map_structure(
                lambda x: ops.take(x, chosen, axis=0), cache
            )
            done = ops.logical_or(was_done, last == config.eos[0])
            return step + 1, tokens, scores, done, last, lengths, cache

        with weights_in_force(self.model, weights):
            found = ops.while_loop(
                more,
                step_on,
                (
                    ops.zeros((), "int32"),
                    ops.full((batch, beams, count), FILLED, "int32"),
                    ops.convert_to_tensor(first),
                    ops.zeros((batch, beams), "bool"),
                    ops.full((batch, beams), config.bos, "int32"),
                    ops.zeros((batch, beams), "float32"),
                    cache,
                ),
            )
        _, tokens, scores, _, _, lengths, _ = found
        return tokens, scores / ops.power((5.0 + lengths) / 6.0, self.penalty)
