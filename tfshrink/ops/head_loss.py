"""Cross-entropy and distillation through a large head, in slices.

Logits over 49,152 tokens dwarf everything else a small model keeps. Here the
head runs on a slice of tokens at a time; the gradient with respect to the
hidden states is formed in the same pass, so that no logits outlive a slice.
"""

import keras
from keras import ops

from tfshrink.backend import first_slope
from tfshrink.backend import multiply
from tfshrink.fusion import fuse
from tfshrink.ops.rows import row_max
from tfshrink.ops.rows import row_sum

SLICE = 256  # tokens


def _distribution(logits):
    """Probabilities in the type of `logits`, their negative entropy (N, 1).

    The entropy weighs the exact logarithms with the rounded probabilities,
    as the cross term of a divergence does, so that the rounding cancels.
    """
    p, log_z = _softmax(ops.cast(logits, "float32"))
    rounded = ops.cast(p, logits.dtype)
    log_p = ops.cast(logits, "float32") - log_z
    return rounded, row_sum(ops.cast(rounded, "float32") * log_p)


def _softmax(logits):
    """Probabilities and the log of the normalizer `(N, 1)`, float32."""
    peak = row_max(logits)
    exponentials = ops.exp(logits - peak)
    total = row_sum(exponentials)
    return exponentials * (1.0 / total), peak + ops.log(total)


def _slice_loss(logits, targets, mask, cross_entropy, index, *soft):
    """Loss, cross-entropy and d loss / d logits of one slice.

    Args:
        logits: `(N, V)`, any float type.
        targets: Integer `(N,)`.
        mask: `(N,)`, weight of each token in the sum.
        cross_entropy: Scalar weight of the cross-entropy.
        index: Scalar, number of the slice.
        *soft: Probabilities `(S, N, V)` and negative entropies `(S, N, 1)` of
            each target distribution: of all slices, or of this one (S = 1).

    Returns:
        `(loss, entropy, gradient)`: sums over the slice in nats, and
        `(N, V)` in the type of `logits`.
    """
    dtype = logits.dtype
    logits = ops.cast(logits, "float32")
    p, log_z = _softmax(logits)
    gold = ops.take_along_axis(logits, targets[:, None], axis=-1)
    entropy = log_z - gold  # (N, 1)
    places = ops.arange(logits.shape[-1], dtype="int32")
    one_hot = ops.cast(places[None] == targets[:, None], "float32")
    loss = cross_entropy * entropy
    gradient = cross_entropy * (p - one_hot)
    for t, negentropy in zip(soft[::2], soft[1::2], strict=True):
        own = ops.minimum(index, t.shape[0] - 1)
        t = ops.cast(ops.take(t, own, axis=0), "float32")
        negentropy = ops.take(negentropy, own, axis=0)
        share = 2.0 / len(soft)
        loss = loss + share * (negentropy - row_sum(t * (logits - log_z)))
        gradient = gradient + share * (p - t)
    mask = mask[:, None]
    gradient = ops.cast(gradient * mask, dtype)
    return ops.sum(loss * mask), ops.sum(entropy * mask), gradient


def distributions(hidden, kernel):
    """What a teacher says of each token, kept for several losses.

    Args:
        hidden: `(N, C)`, normalised.
        kernel: Head `(V, C)`.

    Returns:
        `(p, negentropy)`, `(S, N / S, V)` and `(S, N / S, 1)`: S slices, the
        last filled up.
    """

    def one(states):
        logits = multiply(states, kernel, transpose_b=True)
        return fuse(_distribution)(logits)

    return ops.map(one, _slices(ops.stop_gradient(hidden)))


def likeliest(probabilities, weights, count):
    """Tokens that are likeliest in a batch.

    Args:
        probabilities: Of `distributions`, `(S, N / S, V)`.
        weights: `(N,)`, of each of the batch's tokens.
        count: How many.

    Returns:
        int32 `(count,)`.
    """
    weights = _slices(ops.cast(weights, probabilities.dtype))  # (S, N / S)
    mass = ops.einsum("sn,snv->v", weights, probabilities)
    return ops.top_k(ops.cast(mass, "float32"), count)[1]


def head_loss(
    hidden, kernel, targets, mask, *, cross_entropy, teachers=(), known=()
):
    """Mean loss per counted token, differentiable in `hidden`.

    The loss is `cross_entropy` times the cross-entropy with the targets plus
    the mean Kullback-Leibler divergence from the teachers' distributions.

    Args:
        hidden: `(N, C)`, normalised.
        kernel: Head `(V, C)`; it gets no gradient.
        targets: Integer `(N,)`.
        mask: `(N,)`; a token with zero does not count.
        cross_entropy: Weight of the cross-entropy.
        teachers: Pairs `(hidden (N, C), kernel (V, C))`.
        known: Further teachers, as `distributions` of the same N.

    Returns:
        `(loss, entropy)`: scalars in nats per token, the second the plain
        cross-entropy without gradient.
    """
    count = ops.maximum(ops.sum(mask), 1.0)
    weights = ops.cast(mask, "float32") / count
    kernel = ops.stop_gradient(kernel)
    kernels = [ops.stop_gradient(k) for _, k in teachers]
    states = [ops.stop_gradient(h) for h, _ in teachers]
    known = [ops.stop_gradient(x) for pair in known for x in pair]
    cross_entropy = ops.convert_to_tensor(cross_entropy, "float32")

    def forward(hidden):
        sliced = [_slices(x) for x in (hidden, targets, weights, *states)]
        numbers = ops.arange(sliced[0].shape[0], dtype="int32")

        def one(parts):
            index, own, gold, weight, *others = parts
            soft = list(known)
            for state, head in zip(others, kernels, strict=True):
                logits = multiply(state, head, transpose_b=True)
                soft += [x[None] for x in fuse(_distribution)(logits)]
            logits = multiply(own, kernel, transpose_b=True)
            loss, entropy, gradient = fuse(_slice_loss)(
                logits, gold, weight, cross_entropy, index, *soft
            )
            return loss, entropy, ops.matmul(gradient, kernel)

        losses, entropies, gradients = ops.map(one, (numbers, *sliced))
        width = hidden.shape[-1]
        gradients = ops.reshape(gradients, (-1, width))[: hidden.shape[0]]
        return ops.sum(losses), ops.sum(entropies), gradients

    @keras.ops.custom_gradient
    def differentiable(hidden):
        loss, entropy, gradient = forward(hidden)

        def backward(*upstream, **_):
            upstream = first_slope(upstream)
            return ops.cast(upstream, gradient.dtype) * gradient

        return (loss, entropy), backward

    loss, entropy = differentiable(hidden)
    return loss, ops.stop_gradient(entropy)


def _slices(x):
    """Pads the first axis and splits it into slices of `SLICE`."""
    length = x.shape[0]
    size = min(SLICE, length)
    extra = -length % size
    x = ops.pad(x, [(0, extra)] + [(0, 0)] * (len(x.shape) - 1))
    return ops.reshape(x, (-1, size, *x.shape[1:]))
