"""How far one model's predictions are from another's, token by token.

Axes: N tokens, V vocabulary, C channels.
"""

from keras import ops

from tfshrink.fusion import fuse
from tfshrink.ops.rows import row_max
from tfshrink.ops.rows import row_sum


def probabilities(logits):
    """Softmax over the last axis, float32."""
    return fuse(_probabilities)(logits)


def jensen_shannon(p, q):
    """Jensen-Shannon divergence of two distributions, in nats.

    Args:
        p: Probabilities `(N, V)`.
        q: The same.

    Returns:
        `(N,)`, between 0 and log 2.

    Reference: Lin, Divergence measures based on the Shannon entropy, 1991.
    """
    return fuse(_jensen_shannon)(p, q)


def probability_ratio(reference, p, tokens=None):
    """Probability of one token, relative to what the reference gives it.

    Args:
        reference: Probabilities `(N, V)`.
        p: The same.
        tokens: Integer `(N,)`; `None` is what the reference finds likeliest.

    Returns:
        `(N,)`.
    """
    if tokens is None:
        tokens = ops.argmax(reference, axis=-1)
    tokens = ops.cast(tokens, "int32")[:, None]
    own, wanted = (
        ops.take_along_axis(x, tokens, axis=-1)[:, 0] for x in (p, reference)
    )
    return own / wanted


def top_overlap(reference, p, count=5):
    """Share of the likeliest tokens that both have in common.

    Args:
        reference: Scores `(N, V)`, such as logits.
        p: The same.
        count: How many tokens are compared.

    Returns:
        `(N,)`, multiples of 1 / count.
    """
    ours, theirs = (ops.top_k(x, count)[1] for x in (p, reference))
    same = ours[:, :, None] == theirs[:, None]
    return ops.mean(ops.cast(ops.any(same, axis=-1), "float32"), axis=-1)


def peak_difference(reference, p):
    """Magnitude of the difference of the largest probabilities, `(N,)`."""
    return ops.abs(ops.max(p, axis=-1) - ops.max(reference, axis=-1))


def compare(p, logits, watched, following):
    """What a prediction is beside another, in one pass over the logits.

    Args:
        p: Probabilities of the reference `(N, V)`.
        logits: Of the model that is judged, `(N, V)`.
        watched: int32 `(N,)`, tokens whose probability is wanted.
        following: int32 `(N,)`, the tokens that come next.

    Returns:
        A dict of `(N,)` float32: `jsd`, nats; `watched`, the logarithm of the
        model's probability; `nats`, its negative log-likelihood of what
        follows; `peak`, its largest probability.
    """
    values = fuse(_compare)(p, logits, watched, following)
    names = ("jsd", "watched", "nats", "peak")
    return dict(zip(names, values, strict=True))


def compare_logits(reference, logits):
    """How far rows of logits are from others.

    Args:
        reference: `(N, V)`.
        logits: `(N, V)`.

    Returns:
        A dict of `(N,)` float32: `kl`, from the reference to the model, nats;
        `logit_cosine`; `mse` and `mae`, means over the vocabulary.
    """
    values = fuse(_compare_logits)(reference, logits)
    names = ("kl", "logit_cosine", "mse", "mae")
    return dict(zip(names, values, strict=True))


def cosine(a, b):
    """Cosine of the angle between rows; 0 where one of them is 0.

    Args:
        a: `(..., C)`.
        b: The same.

    Returns:
        `(...)` float32.
    """
    return fuse(_cosine)(a, b)


def _probabilities(logits):
    _, exponentials, total = _exponentials(logits)
    return exponentials / total


def _jensen_shannon(p, q):
    # log(2 p / (p + q)) as log1p of a difference, exact where both are alike.
    both = p + q
    both = ops.where(both > 0.0, both, 1.0)
    # At the ends one of the logarithms is infinite and its factor 0. XLA gets
    # log1p(d) and log1p(-d) of one d wrong where it vectorizes them (CPU).
    ours, theirs = (
        ops.clip(d / both, -0.9999999, 0.9999999) for d in (p - q, q - p)
    )
    terms = p * ops.log1p(ours) + q * ops.log1p(theirs)
    return ops.maximum(0.5 * row_sum(terms)[..., 0], 0.0)


def _compare(p, logits, watched, following):
    shifted, exponentials, total = _exponentials(logits)
    log_total = ops.log(total)

    def at(tokens):
        own = ops.take_along_axis(shifted, tokens[:, None], axis=-1)
        return (own - log_total)[:, 0]

    q = exponentials / total
    peak = 1.0 / total[:, 0]
    return _jensen_shannon(p, q), at(watched), -at(following), peak


def _compare_logits(reference, logits):
    reference, logits = (ops.cast(x, "float32") for x in (reference, logits))
    ours, _, own_total = _exponentials(logits)
    theirs, exponentials, total = _exponentials(reference)
    apart = theirs - ops.log(total) - (ours - ops.log(own_total))
    kl = row_sum(exponentials / total * apart)
    difference = logits - reference
    width = logits.shape[-1]
    return (
        ops.maximum(kl[..., 0], 0.0),
        _cosine(reference, logits),
        row_sum(difference * difference)[..., 0] / width,
        row_sum(ops.abs(difference))[..., 0] / width,
    )


def _exponentials(logits):
    """Logits less their peak, their exponentials, and the sum of those."""
    logits = ops.cast(logits, "float32")
    shifted = logits - row_max(logits)
    exponentials = ops.exp(shifted)
    return shifted, exponentials, row_sum(exponentials)


def _cosine(a, b):
    a, b = (ops.cast(x, "float32") for x in (a, b))
    length = row_sum(a * a) * row_sum(b * b)
    product = row_sum(a * b) / ops.sqrt(ops.where(length > 0.0, length, 1.0))
    return product[..., 0]
