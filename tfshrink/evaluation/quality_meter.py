"""Perplexity and accuracies of one text, plan by plan."""

import numpy as np
from keras import ops

from tfshrink import backend
from tfshrink.evaluation.token_scores import token_scores
from tfshrink.models.effective_weights import bits_beside
from tfshrink.models.effective_weights import EffectiveWeights
from tfshrink.models.effective_weights import weights_in_force
from tfshrink.models.streaming import streamed_hidden


class QualityMeter:
    """Runs a decoder over a text; one compiled function serves all plans.

    The weights of a plan are computed once, not in every batch. Full
    precision is one more set of weights for the same function.

    Args:
        model: Built `Decoder`.
        examples: `Examples`: windows of the text and what counts in them.
        batch_size: Windows in a batch.
        codecs: `BlockCodecs`: the text goes through the cache that generation
            uses, in which older keys and values are coded; `None` for a plain
            forward pass.

    Attributes:
        traces: How often the scoring function was traced.

    Example:
        >>> meter = QualityMeter(model, windows(stream, 512, 511))
        >>> meter.measure(plan.bits)["perplexity"]
    """

    def __init__(self, model, examples=None, *, batch_size=4, codecs=None):
        self.model = model
        self.examples = examples
        self.batch_size = batch_size
        self.codecs = codecs
        self._weights = EffectiveWeights(model)
        self._columns = backend.Compiled(
            lambda bits: ops.transpose(model.head_kernel(bits)),
            model.variables,
        )
        self._score = backend.Compiled(self._scores, model.variables)

    @property
    def traces(self):
        return self._score.traces

    def measure(self, bits=None, on_batch=None):
        """Judges one plan.

        Args:
            bits: As `Decoder` takes them; `None` for full precision.
            on_batch: Called after each batch with its number of windows.

        Returns:
            What `summarize` returns.
        """
        score = self.scorer(bits)
        nats, ranks, masks = [], [], []
        for batch in self.examples.batches(self.batch_size):
            own, rank = score(batch["tokens"])
            nats.append(ops.convert_to_numpy(own))
            ranks.append(ops.convert_to_numpy(rank))
            masks.append(batch["mask"][:, 1:])
            if on_batch is not None:
                on_batch(int(batch["mask"].any(axis=1).sum()))
        return summarize(*map(np.concatenate, (nats, ranks, masks)))

    def scorer(self, bits=None):
        """Puts a plan in force.

        Args:
            bits: As for `measure`.

        Returns:
            Function of `(B, T)` tokens to `(nats, ranks)`, `(B, T - 1)`
            tensors as `token_scores` returns them.
        """
        if bits is not None:
            bits = np.asarray(bits, "int32")
        columns = self._columns(bits)  # of the head, (C, V)
        weights, bits = self._weights(bits), bits_beside(self.model, bits)
        return lambda tokens: self._score(weights, columns, tokens, bits)

    def _scores(self, weights, columns, tokens, bits):
        with weights_in_force(self.model, weights):
            if self.codecs is None:
                hidden = self.model.hidden(tokens, bits)
            else:
                hidden = streamed_hidden(self.model, tokens, self.codecs, bits)
        # The last position predicts nothing; it stays, since rows of 512
        # need no copy and rows of 511 do.
        targets = ops.pad(tokens[:, 1:], [(0, 0), (0, 1)])
        outputs = token_scores(
            ops.reshape(hidden, (-1, hidden.shape[-1])),
            columns,
            ops.reshape(targets, (-1,)),
        )
        return [ops.reshape(x, tokens.shape)[:, :-1] for x in outputs]


def summarize(nats, ranks, mask):
    """Means over the tokens that count.

    Args:
        nats: Negative log-likelihoods, any shape.
        ranks: Tokens preferred to the target, of the same shape.
        mask: 1 where a token counts.

    Returns:
        A dict of `perplexity`, `nats_per_token`, `standard_error` (of the
        nats per token, were tokens independent), `token_accuracy` and
        `top5_accuracy` (fractions), `tokens`.
    """
    counts = mask > 0
    own = nats[counts].astype("float64")
    ranks = ranks[counts]
    mean = own.mean()
    return {
        "perplexity": float(np.exp(mean)),
        "nats_per_token": float(mean),
        "standard_error": float(own.std() / np.sqrt(own.size)),
        "token_accuracy": float(np.mean(ranks < 1)),
        "top5_accuracy": float(np.mean(ranks < 5)),
        "tokens": int(own.size),
    }
