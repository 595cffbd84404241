"""How well hidden states predict the next tokens, in slices."""

from keras import ops

from tfshrink.fusion import fuse
from tfshrink.ops.head_loss import SLICE


def _score(logits, targets):
    """Negative log-likelihood and rank of the targets.

    Args:
        logits: `(N, V)`, any float type.
        targets: Integer `(N,)`.

    Returns:
        `(nats, rank)`: `(N,)` float32, and `(N,)` int32: how many tokens
        come before the target. Of equal logits the lower token is first.
    """
    logits = ops.cast(logits, "float32")
    places = ops.arange(logits.shape[-1], dtype="int32")[None]
    targets = targets[:, None]
    peak = ops.max(logits, axis=-1, keepdims=True)
    total = ops.sum(ops.exp(logits - peak), axis=-1)
    own = ops.where(places == targets, logits, 0.0)
    own = ops.sum(own, axis=-1, keepdims=True)
    nats = ops.log(total) + ops.squeeze(peak - own, axis=-1)
    before = (logits > own) | ((logits == own) & (places < targets))
    return nats, ops.sum(ops.cast(before, "int32"), axis=-1)


def token_scores(hidden, columns, targets):
    """Scores the next tokens without ever holding all logits.

    Args:
        hidden: `(N, C)`, normalised.
        columns: Head `(C, V)`.
        targets: Integer `(N,)`.

    Returns:
        `(nats, rank)`, each `(N,)`: negative log-likelihood of the target,
        and the number of tokens the model prefers to it.
    """
    count, width = hidden.shape
    size = min(SLICE, count)
    extra = -count % size
    hidden = ops.pad(hidden, [(0, extra), (0, 0)])
    targets = ops.pad(targets, [(0, extra)])
    score = fuse(_score)
    nats, ranks = ops.map(
        lambda parts: score(ops.matmul(parts[0], columns), parts[1]),
        (
            ops.reshape(hidden, (-1, size, width)),
            ops.reshape(targets, (-1, size)),
        ),
    )
    return ops.reshape(nats, (-1,))[:count], ops.reshape(ranks, (-1,))[:count]
