"""Cross-entropy and distillation through a large head, in slices.

Logits over 49,152 tokens dwarf everything else a small model keeps. Here the
head runs on a slice of tokens at a time; the gradient with respect to the
hidden states is formed in the same pass, so that no logits outlive a slice.
"""

import keras
from keras import ops

from tfshrink.backend import fuse
from tfshrink.ops.rows import row_max
from tfshrink.ops.rows import row_sum

SLICE = 256  # tokens


def _softmax(logits):
    """Probabilities and the log of the normalizer `(N, 1)`, float32."""
    peak = row_max(logits)
    exponentials = ops.exp(logits - peak)
    total = row_sum(exponentials)
    return exponentials * (1.0 / total), peak + ops.log(total)


def _slice_loss(logits, targets, mask, cross_entropy, *teachers):
    """Loss, cross-entropy and d loss / d logits of one slice.

    Args:
        logits: `(N, V)`, any float type.
        targets: Integer `(N,)`.
        mask: `(N,)`, weight of each token in the sum.
        cross_entropy: Scalar weight of the cross-entropy.
        *teachers: Logits `(N, V)`, each a target distribution.

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
    for teacher in teachers:
        teacher = ops.cast(teacher, "float32")
        t, log_t = _softmax(teacher)
        share = 1.0 / len(teachers)
        # sum t (log t - log p), both logs written as logit less normalizer
        gap = row_sum(t * (teacher - logits)) - log_t + log_z
        loss = loss + share * gap
        gradient = gradient + share * (p - t)
    mask = mask[:, None]
    gradient = ops.cast(gradient * mask, dtype)
    return ops.sum(loss * mask), ops.sum(entropy * mask), gradient


def head_loss(hidden, kernel, targets, mask, *, cross_entropy, teachers=()):
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

    Returns:
        `(loss, entropy)`: scalars in nats per token, the second the plain
        cross-entropy without gradient.
    """
    run = fuse(_slice_loss)
    count = ops.maximum(ops.sum(mask), 1.0)
    weights = ops.cast(mask, "float32") / count
    kernels = [ops.transpose(ops.stop_gradient(k)) for _, k in teachers]
    kernel = ops.stop_gradient(kernel)
    columns = ops.transpose(kernel)
    states = [ops.stop_gradient(h) for h, _ in teachers]

    def forward(hidden):
        sliced = [_slices(x) for x in (hidden, targets, weights, *states)]

        def one(parts):
            own, gold, weight, *others = parts
            logits = ops.matmul(own, columns)
            pairs = zip(others, kernels, strict=True)
            loss, entropy, gradient = run(
                logits,
                gold,
                weight,
                ops.convert_to_tensor(cross_entropy, "float32"),
                *[ops.matmul(h, k) for h, k in pairs],
            )
            return loss, entropy, ops.matmul(gradient, kernel)

        losses, entropies, gradients = ops.map(one, tuple(sliced))
        width = hidden.shape[-1]
        gradients = ops.reshape(gradients, (-1, width))[: hidden.shape[0]]
        return ops.sum(losses), ops.sum(entropies), gradients

    @keras.ops.custom_gradient
    def differentiable(hidden):
        loss, entropy, gradient = forward(hidden)

        def backward(*upstream, **_):
            upstream = upstream[0]
            if isinstance(upstream, (tuple, list)):
                upstream = upstream[0]
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
