"""Signals of the logits of tokens, as pure functions compiled once."""

from keras import ops

from tfshrink import backend
from tfshrink.exit_spec import NEVER
from tfshrink.ops import divergence

OF_LOGITS = ("logit_cosine", "kl", "mse", "mae")
TOP = "top5_overlap"


class TokenScores:
    """Compares what a model says about R tokens with its reference.

    Args:
        of_logits: Whether the signals of `OF_LOGITS` are measured, too.
        top: Whether `top5_overlap` is.

    Call arguments:
        rows: `(R, C)`, what the head reads.
        head: `(C, V)`.
        known: Of the reference: probabilities `(R, V)`; logits `(R, V)`, or
            `None` where nothing needs them; int32 `(R,)`, the tokens to watch
            and those that follow.
        gone: `None`, or of a model that tokens may leave early: boolean `(R,)`,
            whether each did, and int32 `(R, K)`, the candidates which one that
            did is drawn from.

    Returns:
        Dict of `(R,)` float32, as `divergence.compare` and `compare_logits`.
        Where a token left, `jsd`, `watched`, `peak` and `top5_overlap` are of
        what is drawn from; `nats` and those of `OF_LOGITS`, infinite there, are
        of the whole head.
    """

    def __init__(self, of_logits=False, top=False):
        self.of_logits = of_logits
        self.top = top
        self._whole = backend.Compiled(self._of_whole)
        self._gone = backend.Compiled(self._of_gone)

    def __call__(self, rows, head, known, gone=None):
        if gone is None:
            return self._whole(rows, head, *known)
        return self._gone(rows, head, *known, *gone)

    def _of_whole(self, rows, head, p, reference, watched, following):
        logits = ops.cast(ops.matmul(rows, head), "float32")
        found = divergence.compare(p, logits, watched, following)
        return {**found, **self._further(logits, logits, reference)}

    def _of_gone(self, rows, head, p, reference, watched, following, *gone):
        logits = ops.cast(ops.matmul(rows, head), "float32")
        drawn = _among(logits, *gone)
        found = divergence.compare(p, drawn, watched, following)
        gold = ops.take_along_axis(logits, following[:, None], axis=-1)[:, 0]
        found["nats"] = ops.logsumexp(logits, axis=-1) - gold
        return {**found, **self._further(drawn, logits, reference)}

    def _further(self, drawn, logits, reference):
        found = {}
        if self.of_logits:
            found.update(divergence.compare_logits(reference, logits))
        if self.top:
            found[TOP] = divergence.top_overlap(reference, drawn)
        return found


def _among(logits, early, candidates):
    """Logits, `NEVER` where a token left and is no candidate."""
    numbers = ops.arange(candidates.shape[0], dtype="int32")[:, None]
    numbers = ops.broadcast_to(numbers, candidates.shape)
    places = ops.reshape(ops.stack([numbers, candidates], -1), (-1, 2))
    known = ops.scatter_update(
        ops.zeros(logits.shape, "int32"),
        places,
        ops.ones((places.shape[0],), "int32"),
    )
    may_be = ops.logical_or(known > 0, ops.logical_not(early)[:, None])
    return ops.where(may_be, logits, NEVER)
