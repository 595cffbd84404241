"""What a decoder learns of a batch of text."""

from keras import ops

from tfshrink.ops.head_loss import head_loss
from tfshrink.training.teacher import predicting


class LanguageLoss:
    """Loss of one plan on one batch: of the last layer, or of all exits.

    Args:
        model: Built `Decoder`.
        cross_entropy: Weight of the cross-entropy with the text, where a
            teacher stands beside it; alone it is all there is.
        codecs: `BlockCodecs` that older keys and values are seen through, or
            `None`.
        exits: `ExitLoss`, or `None`.

    Call arguments:
        batch: Dict of tensors: `tokens` `(B, T)`, `mask` `(B, T)`.
        bits: Of the plan.
        teacher: What `Teacher` said of the batch; `{}` without one.
        guides: Pairs of hidden states and bits of other plans to learn from.
        now: What the step decides: of `ExitLoss.at`, or `{}`.

    Returns:
        `(loss, values, hidden)`: a scalar; scalars to report, the loss, the
        cross-entropy, then one an exit; `(B (T - 1), C)`, a guide for others.
    """

    def __init__(self, model, *, cross_entropy=0.0, codecs=None, exits=None):
        self.model = model
        self.cross_entropy = cross_entropy
        self.codecs = codecs
        self.exits = exits

    def at(self, step):
        """What a step decides: a dict of NumPy arrays."""
        return self.exits.at(step) if self.exits else {}

    def __call__(self, batch, bits, teacher, guides, now):
        model, taps = self.model, []
        head, tokens = model.head_kernel, batch["tokens"]
        counted = ops.reshape(batch["mask"][:, 1:], (-1,))
        targets = ops.reshape(tokens[:, 1:], (-1,))
        hidden = model.hidden(
            tokens,
            bits,
            self.codecs,
            tap=self.exits and (lambda *own: taps.append(own)),
            dropped=now.get("dropped"),
        )
        hidden = predicting(hidden)

        def last():
            pairs = [(states, head(their)) for states, their in guides]
            if "hidden" in teacher:
                pairs.append((teacher["hidden"], head()))
            return head_loss(
                hidden,
                head(bits),
                targets,
                counted,
                # Without the full-precision teacher the text itself does.
                cross_entropy=self.cross_entropy if teacher else 1.0,
                teachers=pairs,
                known=[teacher["known"]] if "known" in teacher else [],
            )

        if self.exits is None:
            loss, entropy = last()
            return loss, [loss, entropy], hidden
        loss, entropy, exits = self.exits(
            taps, hidden, head(bits), targets, counted, now, last
        )
        return loss, [loss, entropy, *ops.unstack(exits)], hidden
