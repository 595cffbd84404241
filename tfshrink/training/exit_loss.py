"""What the exits of a decoder learn: its own last layer's words."""

import keras
import numpy as np
from keras import ops

from tfshrink.ops.head_loss import distributions
from tfshrink.ops.head_loss import head_loss
from tfshrink.ops.head_loss import likeliest
from tfshrink.training.teacher import predicting

RAMP = 0.5  # share of a run in which `gradual` takes in all exits


class ExitLoss:
    """Joint loss of all exits, each against the last layer of the same plan.

    Args:
        model: Built `Decoder` with exits.
        steps: Length of the run.
        weights: `"layer"`, in proportion to the exit's layer; `"uniform"`;
            `"learned"`, by the uncertainty of each.
        curriculum: `"gradual"` begins with the last exit and takes in the one
            below it bit by bit; `"rotate"` trains one exit a step; `"none"`.
        layer_dropout: Chance that the last block is left out of a batch; it
            falls towards 0 at the first.
        cross_entropy: Weight of the cross-entropy with the text.
        vocabulary: Tokens, the likeliest of a batch by what the last layer
            says, over which exits are held to it; 0 is all. With a weight of
            the cross-entropy it is all.
        frozen: Whether blocks stay as they are: gradients end at the exits,
            and the last layer has no loss of its own.
        seed: Of the dropped layers.

    Attributes:
        variables: What the weights learn: log variances, one an exit, and one
            of the last layer.

    Reference: CALM, 2207.07061, equation 4 (weights by layer); Kendall et al.,
    1705.07115 (learned weights); LayerSkip, 2404.16710, section 3.1 (layer
    dropout and curricula).
    """

    def __init__(
        self,
        model,
        *,
        steps,
        weights="layer",
        curriculum="none",
        layer_dropout=0.0,
        cross_entropy=0.0,
        vocabulary=0,
        frozen=True,
        seed=0,
    ):
        self.model = model
        self.steps = steps
        self.weights = weights
        self.curriculum = curriculum
        self.layer_dropout = layer_dropout
        self.cross_entropy = cross_entropy
        self.vocabulary = 0 if cross_entropy else vocabulary
        self.frozen = frozen
        self.seed = seed
        self.layers = model.exits.layers
        self.variables = []
        if weights == "learned":
            self.variables = [
                keras.Variable(
                    np.zeros(len(self.layers) + 1, "float32"),
                    name="log_variances",
                )
            ]

    def at(self, step):
        """What a step needs: `shares`, and `dropped` blocks where some are.

        Args:
            step: From 0.

        Returns:
            Dict of NumPy arrays: `shares` `(exits + 1,)`, the weight of each
            loss, together 1, the last layer's at the end; `dropped`, boolean,
            one a block.
        """
        count = len(self.layers)
        depth = np.array([*self.layers, self.model.config.layers], "float32")
        shares = depth if self.weights == "layer" else np.ones_like(depth)
        if self.frozen:
            shares[-1] = 0.0
        if self.curriculum == "rotate":
            shares[:count] *= np.arange(count) == step % count
        elif self.curriculum == "gradual":
            seen = 1 + int(count * step / max(1.0, RAMP * self.steps))
            shares[:count] *= np.arange(count) >= count - seen
        found = {"shares": (shares / shares.sum()).astype("float32")}
        if self.layer_dropout:
            layers = self.model.config.layers
            place = np.arange(layers) / max(1, layers - 1)
            chance = self.layer_dropout * (2.0**place - 1.0)
            rng = np.random.default_rng((self.seed, step))
            found["dropped"] = rng.random(layers) < chance
        return found

    def __call__(self, taps, hidden, kernel, targets, counted, now, last):
        """Weighs the losses of the exits with that of the last layer.

        Args:
            taps: States and rotation behind each exit's block, as
                `Decoder.hidden` taps them.
            hidden: `(B (T - 1), C)`, final states of tokens that have a next.
            kernel: Head `(V, C)`.
            targets: Integer `(B (T - 1),)`.
            counted: `(B (T - 1),)`, weight of each target.
            now: Of `at`, tensors.
            last: Function of no argument to loss and cross-entropy of the
                last layer, scalars.

        Returns:
            `(loss, entropy, losses)`: scalars, the cross-entropy that of the
            last layer; `(exits,)`, nats a token.
        """
        known = distributions(hidden, kernel)
        rows, said, gold = kernel, known, targets
        if 0 < self.vocabulary < kernel.shape[0]:
            best = likeliest(known[0], counted, self.vocabulary)
            rows = ops.take(kernel, best, axis=0)
            said = distributions(hidden, rows)
            gold = ops.zeros_like(targets)  # of no weight
        losses = []
        heads = self.model.exit_heads
        for head, (states, rotation) in zip(heads, taps, strict=True):
            if self.frozen:
                states = ops.stop_gradient(states)
            own = head(states, rotation=rotation)[0]
            loss, _ = head_loss(
                predicting(own),
                rows,
                gold,
                counted,
                cross_entropy=self.cross_entropy,
                known=[said],
            )
            losses.append(loss)
        losses = ops.stack(losses)
        if self.frozen:  # its distribution is at hand, its loss moves nothing
            entropy = _entropy(known[0], targets, counted)
            every = ops.append(losses, 0.0)
        else:
            own, entropy = last()
            every = ops.append(losses, own)
        return self.joint(every, now), entropy, losses

    def joint(self, every, now):
        """One loss of all: of the exits and, at the end, of the last layer.

        Args:
            every: `(exits + 1,)`, nats a token.
            now: Of `at`, tensors.
        """
        if self.variables:
            spread = ops.convert_to_tensor(self.variables[0])
            every = ops.exp(-spread) * every + spread
        return ops.sum(now["shares"] * every)


def _entropy(known, targets, counted):
    """Mean cross-entropy of distributions `(S, N / S, V)`, nats a token."""
    known = ops.reshape(known, (-1, known.shape[-1]))[: targets.shape[0]]
    gold = ops.take_along_axis(known, targets[:, None], axis=-1)[:, 0]
    nats = -ops.log(ops.maximum(ops.cast(gold, "float32"), 1e-30))
    return ops.sum(nats * counted) / ops.maximum(ops.sum(counted), 1.0)
