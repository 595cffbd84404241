"""A decoder whose weights and inputs are disturbed, compiled once."""

import contextlib
from typing import NamedTuple

import numpy as np
from keras import ops

from tfshrink import backend
from tfshrink.evaluation.token_scores import token_scores
from tfshrink.models.effective_weights import bits_beside
from tfshrink.models.effective_weights import EffectiveWeights
from tfshrink.models.effective_weights import weights_in_force
from tfshrink.ops.head_loss import head_loss
from tfshrink.ops.noise import with_row_step_noise


class InForce(NamedTuple):
    """Weights of a plan.

    Args:
        weights: Dict of variable paths to tensors.
        columns: The head, `(C, V)`.
        bits: What a call needs beside them, or `None`.
    """

    weights: dict
    columns: object
    bits: object


class DisturbedForward:
    """Scores a decoder's next tokens while something disturbs it.

    The weights of a plan are arguments, and so is all that disturbs them: each
    of its functions is traced once, whatever the plan and the condition.

    Args:
        model: Built `Decoder`.

    Attributes:
        traces: How often the functions were traced, by name.

    Example:
        >>> forward = DisturbedForward(model)
        >>> plan = forward.in_force(bits)
        >>> slope = forward.slope(plan, tokens, mask, offset)
        >>> nats, ranks = forward.scores(plan, tokens, offset=0.1 * sign(slope))
    """

    def __init__(self, model):
        self.model = model
        variables = model.variables
        self._weights = EffectiveWeights(model)
        self._columns = backend.Compiled(self._head_columns, variables)
        self._scores = backend.Compiled(self._scored, variables)
        self._noisy = backend.Compiled(self._scored_noisily, variables)
        self._slope = backend.Compiled(self._differentiated, variables)

    @property
    def traces(self):
        return {
            "scores": self._scores.traces,
            "noisy_scores": self._noisy.traces,
            "slope": self._slope.traces,
        }

    def in_force(self, bits=None):
        """Computes the weights of a plan, or of full precision.

        Args:
            bits: As `Decoder` takes them.

        Returns:
            `InForce`.
        """
        bits = None if bits is None else np.asarray(bits, "int32")
        return self.with_weights(
            self._weights(bits), bits_beside(self.model, bits)
        )

    def with_weights(self, weights, bits):
        """`InForce` of weights that are known."""
        return InForce(weights, self._columns(weights), bits)

    def scores(
        self, plan, tokens, *, inputs=None, kept=None, offset=None, noise=None
    ):
        """How well the next tokens are predicted.

        Args:
            plan: `InForce`.
            tokens: `(B, T)`, those to predict.
            inputs: `(B, T)`, those that are read; `None` is the same.
            kept: `(B, T)`, factors of the embedded tokens; `None` is 1.
            offset: `(B, T, C)`, what is added to them; `None` is 0.
            noise: `(bits, seed)`: a scalar and an integer `(2,)`, the noise of
                rounding what dense layers and the head read; or `None`.

        Returns:
            `(nats, ranks)`, NumPy `(B, T - 1)`, as `token_scores` has them.
        """
        inputs = tokens if inputs is None else inputs
        if kept is None:
            kept = np.ones(tokens.shape, "float32")
        if offset is None:
            offset = self.no_offset(tokens)
        arguments = [*plan, tokens, inputs, kept, offset]
        if noise is None:
            found = self._scores(*arguments)
        else:
            bits, seed = noise
            seed = np.asarray(seed, "int32")
            found = self._noisy(*arguments, np.float32(bits), seed)
        return tuple(map(ops.convert_to_numpy, found))

    def slope(self, plan, tokens, mask, offset):
        """Gradient of the mean loss in what is added to the embedded tokens.

        What rounds activations passes it straight through; weights are
        rounded before, and the embedding is offset behind its rounding.

        Args:
            plan: `InForce`.
            tokens: `(B, T)`.
            mask: `(B, T)`, 1 where a token counts as a target.
            offset: `(B, T, C)`, where the gradient is taken.

        Returns:
            `(B, T, C)`, float32; 0 in rows without a target.
        """
        return self._slope(*plan, tokens, mask, offset)

    def no_offset(self, tokens):
        """Zeros of the shape of the embedded tokens."""
        return np.zeros((*tokens.shape, self.model.config.width), "float32")

    def _head_columns(self, weights):
        with weights_in_force(self.model, weights):
            return ops.transpose(self.model.head_kernel())

    def _scored(self, weights, columns, bits, tokens, inputs, kept, offset):
        with weights_in_force(self.model, weights):
            hidden = self._hidden(inputs, bits, kept, offset)
        return self._judged(hidden, columns, tokens)

    def _scored_noisily(self, weights, columns, bits, tokens, *more):
        *inputs, noise_bits, seed = more
        noise = InputNoise(noise_bits, seed)
        with weights_in_force(self.model, weights):
            with disturbed(self.model, noise):
                hidden = self._hidden(inputs[0], bits, *inputs[1:])
        return self._judged(noise(hidden), columns, tokens)

    def _differentiated(self, weights, columns, bits, tokens, mask, offset):
        kernel = ops.transpose(columns)
        targets = ops.reshape(_next(tokens), (-1,))
        counted = ops.reshape(_next(mask), (-1,))
        kept = ops.ones(tokens.shape, "float32")

        def loss(offset):
            with weights_in_force(self.model, weights):
                hidden = self._hidden(tokens, bits, kept, offset)
            rows = ops.reshape(hidden, (-1, hidden.shape[-1]))
            mean, _ = head_loss(
                rows, kernel, targets, counted, cross_entropy=1.0
            )
            return mean

        return backend.gradients(loss, [offset])[0]

    def _hidden(self, inputs, bits, kept, offset):
        model = self.model
        columns = ops.arange(inputs.shape[1])[None]
        x, rotation = model.embed(inputs, columns, bits)
        # In float32, so that bfloat16 rounds the sum and not a small offset.
        x = ops.cast(x, "float32") * kept[..., None] + offset
        return model.hidden_of(x, rotation, bits)

    def _judged(self, hidden, columns, tokens):
        rows = ops.reshape(hidden, (-1, hidden.shape[-1]))
        targets = ops.reshape(_next(tokens), (-1,))
        found = token_scores(rows, columns, targets)
        return [ops.reshape(x, tokens.shape)[:, :-1] for x in found]


class InputNoise:
    """Noise of rounding what layers read, a function of a seed.

    Args:
        bits: Scalar float tensor.
        seed: Integer tensor `(2,)`.

    Call arguments:
        x: `(B, T, C)`.
    """

    def __init__(self, bits, seed):
        self.bits = bits
        self.seed = seed
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        own = self.seed * 1000003 + self.calls  # as `Dropout` counts
        noise = backend.uniform(ops.shape(x), own) - 0.5
        return with_row_step_noise(x, noise, self.bits)


@contextlib.contextmanager
def disturbed(model, noise):
    """Dense layers of the blocks read what `noise` makes of their input."""
    blocks = [block.groups().values() for block in model.blocks]
    layers = [x for groups in blocks for own in groups for x in own]
    for layer in layers:
        layer.disturb = noise
    try:
        yield
    finally:
        for layer in layers:
            layer.disturb = None


def _next(x):
    """Of each place the next; 0 behind the last, which predicts nothing."""
    return ops.pad(x[:, 1:], [(0, 0), (0, 1)])
