"""The full-precision model as the teacher of its shrunk plans."""

import numpy as np
from keras import ops

from tfshrink import backend
from tfshrink.models.effective_weights import weights_in_force
from tfshrink.ops.head_loss import distributions
from tfshrink.training.devices import on_every_device

# The distributions over an update are kept up to this size; beyond it every
# plan runs the teacher's head again.
KEPT_BYTES = 2**29


class Teacher:
    """What the full-precision model says about a batch, computed once.

    It stays what it was when this was made, though what it shares with the
    student is trained.

    Args:
        model: Built `Decoder`.
        trained: Variables of it that full precision reads and training moves.
        batches: Batches of an update, whose answers are held at once.

    Call arguments:
        tokens: `(B, T)`.

    Returns:
        `{"known": distributions}` of the tokens that have a next one, or
        `{"hidden": states}` `(B (T - 1), C)` where those are too large.
    """

    def __init__(self, model, *, trained=(), batches=1):
        self.model = model
        self.batches = batches
        self._frozen = {
            v.path: ops.convert_to_tensor(np.array(v)) for v in trained
        }
        self._compiled = backend.Compiled(
            on_every_device(self._outputs), model.variables
        )

    def __call__(self, tokens):
        return self._compiled(tokens, self._frozen)

    def _outputs(self, tokens, frozen):
        with weights_in_force(self.model, frozen):
            hidden = predicting(self.model.hidden(tokens))
            kernel = self.model.head_kernel()
        size = hidden.shape[0] * kernel.shape[0]
        size *= 2 if self.model.compute_dtype == "bfloat16" else 4
        if size * self.batches > KEPT_BYTES:
            return {"hidden": hidden}
        return {"known": distributions(hidden, kernel)}


def predicting(hidden):
    """States `(B (T - 1), C)` of the tokens that have a next one.

    Args:
        hidden: `(B, T, C)`.
    """
    return ops.reshape(hidden[:, :-1], (-1, hidden.shape[-1]))
