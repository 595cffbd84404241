"""How sure an exit is of its token, as pure functions of tensors.

All but the state cosine read the logits of a few candidates, the likeliest
first, and count probability among them alone: the rest of a vocabulary is
never multiplied at an exit. Each lies in 0..1, so that a threshold of 1 is
never passed (`may_leave` is strict).
"""

import math

from keras import ops

# Weights of `multi_level`, as the seed has them.
FIRST, SECOND, CERTAINTY = 0.6, 0.3, 0.1


def probabilities(logits):
    """Softmax over the candidates `(..., K)`, float32."""
    return ops.softmax(ops.cast(logits, "float32"), axis=-1)


def margin(logits):
    """Probability of the likeliest candidate less that of the second.

    Args:
        logits: `(..., K)`, the likeliest first, K at least 2.

    Returns:
        `(...)`.

    Reference: Schuster et al., CALM, 2207.07061, section 3.5.
    """
    p = probabilities(logits)
    return p[..., 0] - p[..., 1]


def maximum(logits):
    """Probability of the likeliest candidate."""
    return probabilities(logits)[..., 0]


def certainty(logits):
    """One less the entropy, as a share of its largest value ln K."""
    return 1.0 - entropy(logits) / math.log(logits.shape[-1])


def multi_level(logits):
    """Weighs both gaps among the first three, and the inverse entropy.

    .6 (p1 - p2) + .3 (p2 - p3) + .1 min(1, 1 / H), H in nats. The inverse is
    bounded: without that a sure exit would pass every threshold.
    """
    p = probabilities(logits)
    first, second = p[..., 0] - p[..., 1], p[..., 1] - p[..., 2]
    inverse = 1.0 / ops.maximum(entropy(logits), 1.0)
    return FIRST * first + SECOND * second + CERTAINTY * inverse


def entropy(logits):
    """Entropy among the candidates, in nats."""
    logits = ops.cast(logits, "float32")
    logits = logits - ops.max(logits, axis=-1, keepdims=True)
    weights = ops.exp(logits)
    total = ops.sum(weights, axis=-1)
    mean = ops.sum(weights * logits, axis=-1) / total
    return ops.maximum(ops.log(total) - mean, 0.0)


def state_cosine(state, earlier):
    """Cosine of a state with that of an earlier layer, 0 where it is below.

    Args:
        state: `(..., C)`.
        earlier: Of the same shape.
    """
    state, earlier = (ops.cast(x, "float32") for x in (state, earlier))
    dot = ops.sum(state * earlier, axis=-1)
    power = ops.sum(state * state, axis=-1) * ops.sum(earlier * earlier, -1)
    cosine = dot / ops.sqrt(ops.maximum(power, 1e-20))
    return ops.clip(cosine, 0.0, 1.0)


# Those that read logits; `cosine` and `classifier` read states.
OF_LOGITS = {
    "entropy": certainty,
    "margin": margin,
    "max": maximum,
    "multi_level": multi_level,
}
OF_STATES = ("classifier", "cosine")
CONFIDENCES = tuple(sorted([*OF_LOGITS, *OF_STATES]))


def decayed(threshold, position, *, floor, rate):
    """A threshold that falls with the position in the text made so far.

    λ_t = λ (floor + (1 - floor) exp(-rate t)), t the share of the text that
    is made.

    Args:
        threshold: λ.
        position: t, 0..1.
        floor: Share of λ that is left in the end; 1 leaves all of it.
        rate: How fast it falls.

    Reference: CALM, equation 5, with floor .9.
    """
    return threshold * (floor + (1.0 - floor) * ops.exp(-rate * position))


def may_leave(confidence, threshold):
    """Whether tokens leave: boolean, never at a threshold of 1."""
    return ops.logical_and(confidence > threshold, threshold < 1.0)
