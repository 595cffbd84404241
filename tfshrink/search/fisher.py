"""A cheap estimate of what rounding costs: the Fisher information."""

import numpy as np
from keras import ops

from tfshrink import backend
from tfshrink.layer_groups import BLOCK_GROUPS
from tfshrink.models.block_forward import BlockForward
from tfshrink.models.effective_weights import variables_as

COUNT = len(BLOCK_GROUPS)
ROWS = 4  # prompts of one backward pass


class Fisher:
    """Diagonal of the Fisher information of every kernel of a decoder.

    The divergence of a model whose weights moved by d is d^T F d / 2 to second
    order. Each backward pass draws the next tokens from the model itself; the
    square of the gradient of their summed log-likelihood then is, on average,
    the diagonal of F over these tokens. Blocks are differentiated one after
    the other, by one compiled function.

    Args:
        model: Built `Decoder`.
        prompts: `Prompts`.
        passes: How often each prompt is drawn for.
        seed: Of the drawn tokens.

    Attributes:
        tokens: How many tokens it stands on.

    Reference: the diagonal of HAWQ-V2 (Dong et al., arXiv:1911.03852), with the
    Fisher information for the Hessian of the log-likelihood.
    """

    def __init__(self, model, prompts, *, passes=2, seed=0):
        self.model = model
        self.forward = BlockForward(model, prompts.tokens.shape[1])
        self._backward = backend.Compiled(self._through_block)
        self._logits = backend.Compiled(self._predicted, model.variables)
        self._top = backend.Compiled(self._through_head, model.variables)
        self.tokens = passes * int(prompts.lengths.sum())
        self._sums = {}
        random = np.random.default_rng(seed)
        for _ in range(passes):
            for start in range(0, len(prompts), ROWS):
                self._add(prompts[start : start + ROWS], random)

    def divergence(self, group, moved):
        """Estimated mean divergence of a token, nats.

        Args:
            group: Number of the layer group, in model order.
            moved: By how much each of its kernels moved, NumPy.
        """
        total = 0.0
        for own, difference in zip(self._sums[group], moved, strict=True):
            total += float(np.vdot(own, np.square(difference)))
        return 0.5 * total / self.tokens

    def _add(self, prompts, random):
        layers = self.model.config.layers
        states = [self.forward.embed(prompts.tokens)]
        for index in range(layers):
            states.append(self.forward.block(index, states[-1]))
        drawn = draw(ops.convert_to_numpy(self._logits(states[-1])), random)
        mask = prompts.mask.astype("float32")
        slope, *tables = self._top(states[-1], drawn, mask)
        self._square(COUNT * layers + len(self._outer()) - 1, tables)
        for index in reversed(range(layers)):
            values, weights, x, _ = self.forward.arguments(index, states[index])
            slope, kernels = self._backward(values, weights, x, slope)
            for group, own in enumerate(kernels):
                self._square(COUNT * index + group, own)

    def _square(self, group, gradients):
        squares = [np.square(ops.convert_to_numpy(x)) for x in gradients]
        known = self._sums.setdefault(group, [0.0] * len(squares))
        self._sums[group] = [
            total + own for total, own in zip(known, squares, strict=True)
        ]

    def _outer(self):
        """Embedding, and head where it is a group of its own."""
        layers = self.model.embedding, self.model.head
        return [layer for layer in layers if layer is not None]

    def _predicted(self, x):
        return self.model.logits(self.model.final_norm(x))

    def _through_head(self, x, drawn, mask):
        """Gradients of the drawn tokens' log-likelihood: input, head."""
        last = self._outer()[-1]
        kernel = last.table if hasattr(last, "table") else last.kernel

        def likelihood(x, value):
            with variables_as([(kernel, value)]):
                logits = self._predicted(x)
            nats = ops.sparse_categorical_crossentropy(
                drawn, logits, from_logits=True
            )
            return -ops.sum(nats * mask)

        value = ops.convert_to_tensor(kernel.value)
        return backend.gradients(likelihood, [x, value])

    def _through_block(self, values, weights, x, slope):
        """Gradients of a block's input, and of its kernels by layer group."""
        rest = [[own[1:] for own in group] for group in weights]

        def product(x, *kernels):
            kernels = iter(kernels)
            now = [[[next(kernels), *own] for own in group] for group in rest]
            out = ops.cast(self.forward.call(values, now, x), "float32")
            return ops.sum(out * ops.cast(slope, "float32"))

        kernels = [own[0] for group in weights for own in group]
        first, *found = backend.gradients(product, [x, *kernels])
        found = iter(found)
        return first, [[next(found) for _ in group] for group in weights]


def draw(logits, random):
    """One token a row, drawn from its distribution.

    Args:
        logits: `(B, T, V)`, NumPy.
        random: `np.random.Generator`.

    Returns:
        int32 `(B, T)`.
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    sums = np.cumsum(np.exp(shifted, dtype="float64"), axis=-1)
    places = random.random(logits.shape[:-1]) * sums[..., -1]
    # Rounding must not lead behind the last token.
    drawn = np.sum(sums < places[..., None], axis=-1)
    return np.minimum(drawn, logits.shape[-1] - 1).astype("int32")
