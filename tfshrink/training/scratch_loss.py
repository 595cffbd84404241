"""What a model learns that nothing taught before: text, or translations."""

import contextlib

import numpy as np
from keras import ops

from tfshrink.training.teacher import predicting


class ScratchLoss:
    """Smoothed cross-entropy of the last layer and of all exits.

    Unlike `LanguageLoss` it reaches the head, too, which is the embedding
    where they are tied, and it drops parts of what blocks add. An exit learns
    the text and, as much, what the last layer says of it.

    Args:
        model: Built `Decoder` or `EncoderDecoder`.
        smoothing: Share of a target that all tokens get alike, 0..1.
        dropout: Share of what blocks add that is dropped, 0..1.
        distill: Share of an exit's loss that is its divergence from the last
            layer, 0..1; the rest is the text's.
        exits: `ExitLoss`, which weighs the exits, or `None`.
        seed: Of the dropout; batches of one update drop alike.

    Call arguments:
        batch: Dict of tensors: `tokens` `(B, T)`, `mask` `(B, T)` and, of an
            encoder-decoder, `source` `(B, S)` and `source_mask` `(B, S)`.
        bits: Of the plan.
        teacher: Not looked at.
        guides: Not looked at.
        now: Of `at`, tensors.

    Returns:
        `(loss, values, hidden)`, as `LanguageLoss` does; the entropy is not
        smoothed.

    Reference: Szegedy et al., 1512.00567, section 7 (label smoothing).
    """

    def __init__(
        self,
        model,
        *,
        smoothing=0.1,
        dropout=0.1,
        distill=0.5,
        exits=None,
        seed=0,
    ):
        self.model = model
        self.smoothing = smoothing
        self.dropout = dropout
        self.distill = distill
        self.exits = exits
        self.seed = seed

    def at(self, step):
        """What a step decides: a dict of NumPy arrays."""
        found = self.exits.at(step) if self.exits else {}
        return {**found, "seed": np.array([self.seed, step], "int32")}

    def __call__(self, batch, bits, teacher, guides, now):
        model, taps = self.model, []
        with contextlib.ExitStack() as stack:
            if self.dropout:
                stack.enter_context(model.dropping(self.dropout, now["seed"]))
            if "source" in batch:
                memory = model.remember(
                    batch["source"], batch["source_mask"], bits
                )
                stack.enter_context(model.remembering(memory))
            hidden = model.hidden(
                batch["tokens"],
                bits,
                tap=self.exits and (lambda *own: taps.append(own)),
                dropped=now.get("dropped"),
            )
            states = [
                model.for_head(head(x, rotation=rotation)[0], bits)
                for head, (x, rotation) in zip(
                    model.exit_heads, taps, strict=False
                )
            ]
        kernel = ops.transpose(model.head_kernel(bits))
        targets = ops.reshape(batch["tokens"][:, 1:], (-1,))
        counted = ops.reshape(batch["mask"][:, 1:], (-1,))
        counted = counted / ops.maximum(ops.sum(counted), 1.0)

        def logits(states):
            return ops.cast(ops.matmul(predicting(states), kernel), "float32")

        known = logits(hidden)
        loss, entropy = smoothed(known, targets, counted, self.smoothing)
        values = [loss, entropy]
        if self.exits is not None:
            losses = [
                self._of_exit(logits(own), known, targets, counted)
                for own in states
            ]
            values += losses
            loss = self.exits.joint(ops.stack([*losses, loss]), now)
        return loss, [loss, *values[1:]], predicting(hidden)

    def _of_exit(self, own, known, targets, counted):
        loss, _ = smoothed(own, targets, counted, self.smoothing)
        known = ops.log_softmax(ops.stop_gradient(known))
        apart = known - ops.log_softmax(own)
        apart = ops.sum(ops.sum(ops.exp(known) * apart, -1) * counted)
        return (1.0 - self.distill) * loss + self.distill * apart


def smoothed(logits, targets, weights, smoothing):
    """Cross-entropy with smoothed targets, and with plain ones.

    Args:
        logits: float32 `(N, V)`.
        targets: Integer `(N,)`.
        weights: `(N,)`, together 1.
        smoothing: Share of the target that all tokens get alike.

    Returns:
        `(loss, entropy)`: scalars, nats a token.
    """
    total = ops.logsumexp(logits, axis=-1)
    gold = ops.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    nats = total - gold
    even = total - ops.mean(logits, axis=-1)
    loss = (1.0 - smoothing) * nats + smoothing * even
    return ops.sum(loss * weights), ops.sum(nats * weights)
