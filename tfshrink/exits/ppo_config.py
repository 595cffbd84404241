"""Settings of an exit policy's training."""

import dataclasses
import math

from tfshrink.errors import UserError
from tfshrink.exit_policy import OF_STATES
from tfshrink.exit_spec import CONFIDENCES


@dataclasses.dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """How an exit policy is trained; the defaults of PPO are its paper's.

    Args:
        reads: Confidences it looks at, of `CONFIDENCES`. Those of states cost
            nothing beside the exit's test; any other needs the candidates'
            logits at every exit.
        cost_weight: What reading all weights of the model costs, in tokens
            that agree.
        clip: ε, how far a policy may move from the one that acted.
        discount: γ, of a reward one exit later.
        gae: λ of the generalized advantages, 0..1.
        learning_rate: Of Adam, at first; it falls to zero linearly.
        iterations: Times that all tokens are walked through.
        epochs: Over what one of those gave.
        batch: Tokens of a step, at most.
        entropy: Bonus for an undecided policy, per nat; falls likewise.
        hidden: Width of actor and critic.
        seed: Of weights, actions and order.

    Raises:
        UserError: A value is out of range.

    Reference: Schulman et al., 1707.06347, equations 7 and 9.
    """

    reads: tuple = OF_STATES
    cost_weight: float = 0.2
    clip: float = 0.2
    discount: float = 1.0
    gae: float = 0.95
    learning_rate: float = 1e-2
    iterations: int = 40
    epochs: int = 4
    batch: int = 2048
    entropy: float = 0.01
    hidden: int = 16
    seed: int = 0

    def __post_init__(self):
        if not self.reads or not set(self.reads) <= set(CONFIDENCES):
            raise UserError(
                f"`reads` must be some of {', '.join(CONFIDENCES)}. "
                f"Received: {self.reads}"
            )
        for name in ("discount", "gae"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(
                    f"`{name}` must lie in 0..1. "
                    f"Received: {getattr(self, name)}"
                )
        for name in ("cost_weight", "clip", "learning_rate", "entropy"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise UserError(
                    f"`{name}` must be at least 0. "
                    f"Received: {getattr(self, name)}"
                )
        for name in ("iterations", "epochs", "batch", "hidden"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"`{name}` must be at least 1. "
                    f"Received: {getattr(self, name)}"
                )
