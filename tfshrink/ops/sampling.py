"""Choosing the next token from logits, as pure functions of tensors.

Everything that varies from call to call is a tensor, so that one compiled
step serves every temperature, top-k, top-p, penalty and seed.
"""

from keras import ops

from tfshrink.fusion import fuse
from tfshrink.ops.random_bits import uniform

_BLOCK = 128  # tokens a block of the two-level search for a sampled token


def next_token(logits, seen, row, position, settings, greedy):
    """Chooses one token a row.

    The order is that of `transformers`: repetition penalty, temperature,
    top-k, then top-p of what top-k has left.

    Args:
        logits: float32 `(B, V)`.
        seen: Boolean `(B, V)`: tokens the penalty falls on.
        row: Integer `(B,)`: identifies a row's random numbers.
        position: Scalar, the same for the place in the sequence.
        settings: Dict of scalar tensors `temperature`, `top_k` (0 is off),
            `top_p`, `repetition_penalty`, and `key`, uint32 `(2,)`.
        greedy: Boolean scalar: take the likeliest token.

    Returns:
        int32 `(B,)`.
    """
    penalty = settings["repetition_penalty"]
    logits = ops.cond(
        penalty == 1.0,
        lambda: logits,
        lambda: fuse(penalize)(logits, seen, penalty),
    )

    def sample():
        weights = fuse(softmax_weights)(logits, settings["temperature"])
        weights = keep_likely(weights, settings["top_k"], settings["top_p"])
        noise = fuse(uniform)(settings["key"], row, position)
        return fuse(choose)(weights, noise)

    return ops.cond(greedy, lambda: likeliest(logits), sample)


def likeliest(logits):
    """Index of the largest logit a row, the first of several: int32 `(B,)`."""
    return ops.cast(ops.argmax(logits, axis=-1), "int32")


def penalize(logits, seen, penalty):
    """Makes tokens that have occurred less likely.

    Args:
        logits: `(B, V)`.
        seen: Boolean `(B, V)`.
        penalty: Scalar; above 1 discourages.

    Returns:
        `(B, V)`: where seen, divided by the penalty if positive, multiplied
        by it if negative.

    Reference: Keskar et al., CTRL, arXiv:1909.05858, section 4.1.
    """
    scaled = ops.where(logits > 0, logits / penalty, logits * penalty)
    return ops.where(seen, scaled, logits)


def softmax_weights(logits, temperature):
    """Softmax without its denominator: the likeliest token has weight 1."""
    logits = logits - ops.max(logits, axis=-1, keepdims=True)
    return ops.exp(logits / temperature)


def keep_likely(weights, top_k, top_p):
    """Sets the weights of the unlikely to zero.

    Tokens of equal weight are kept or dropped together.

    Args:
        weights: Non-negative `(B, V)`, no larger than 1.
        top_k: Integer scalar: a token is kept when fewer than `top_k` are
            likelier. 0 keeps all.
        top_p: Scalar in (0, 1]: a token is kept when those likelier than it
            have together less than this share of what top-k kept.

    Returns:
        `(B, V)`.

    Reference: Holtzman et al., nucleus sampling, arXiv:1904.09751.
    """
    weights = ops.cond(
        top_k > 0, lambda: fuse(_keep_top_k)(weights, top_k), lambda: weights
    )
    return ops.cond(
        top_p < 1.0, lambda: fuse(_keep_top_p)(weights, top_p), lambda: weights
    )


def _keep_top_k(weights, top_k):
    def few_above(least):
        count = ops.sum(ops.cast(weights > least, "int32"), -1, keepdims=True)
        return count < top_k

    return _keep(weights, few_above)


def _keep_top_p(weights, top_p):
    limit = top_p * ops.sum(weights, axis=-1, keepdims=True)

    def little_above(least):
        mass = ops.where(weights > least, weights, 0.0)
        return ops.sum(mass, axis=-1, keepdims=True) < limit

    return _keep(weights, little_above)


def _keep(weights, holds):
    """Keeps weights that are at least the smallest for which `holds`.

    `holds` is false below a number and true from it on, so that bisection
    finds the number; the bits of non-negative floats are in their order,
    so that 30 halvings find it exactly, without sorting the vocabulary.
    """
    shape = (weights.shape[0], 1)
    low = ops.zeros(shape, "int32")
    high = ops.full(shape, 0x3F800000, "int32")  # the bits of 1.0

    def halve(_, ends):
        low, high = ends
        middle = low + ops.right_shift(high - low, 1)
        enough = holds(ops.view(middle, "float32"))
        return ops.where(enough, low, middle), ops.where(enough, middle, high)

    _, high = ops.fori_loop(0, 30, halve, (low, high))
    return ops.where(weights >= ops.view(high, "float32"), weights, 0.0)


def choose(weights, uniform):
    """Draws an index in proportion to its weight.

    Searches the cumulated weights block by block, then inside one block:
    one random number a row, however large the vocabulary.

    Args:
        weights: Non-negative `(B, V)`, each row with a positive one.
        uniform: `(B,)` in [0, 1).

    Returns:
        int32 `(B,)`; never one of weight zero.
    """
    size = weights.shape[-1]
    weights = ops.pad(weights, ((0, 0), (0, -size % _BLOCK)))
    blocks = ops.reshape(weights, (-1, weights.shape[-1] // _BLOCK, _BLOCK))
    sums = ops.sum(blocks, axis=-1)
    target = uniform * ops.sum(sums, axis=-1)
    block, rest = _search(sums, target)
    inside = ops.take_along_axis(blocks, block[:, None, None], axis=1)
    index, _ = _search(inside[:, 0], rest)
    return block * _BLOCK + index


def _search(weights, target):
    """First index at which the cumulated weights exceed `target`.

    Returns:
        `(index, rest)`: int32 `(B,)`, of a positive weight whatever the
        rounding, and what is left of the target in front of it.
    """
    positive = weights > 0
    places = ops.arange(weights.shape[-1], dtype="int32")
    last = ops.max(ops.where(positive, places, 0), axis=-1, keepdims=True)
    # Sums made in parallel may rise where nothing was added.
    beyond = ops.cumsum(weights, axis=-1) > target[:, None]
    beyond = ops.logical_and(beyond, positive)
    index = ops.min(ops.where(beyond, places, last), axis=-1)
    before = ops.where(places < index[:, None], weights, 0.0)
    return index, target - ops.sum(before, axis=-1)
