"""The precision that a model keeps between calls."""

import keras
import numpy as np

from tfshrink.errors import UserError
from tfshrink.ops.quantize import FULL
from tfshrink.plan import Plan


class PrecisionSwitch:
    """Bits of every layer group that calls without `bits` use.

    They sit in one integer variable: a function that was compiled after the
    first setting follows every later one without a new trace. The variable is
    no weight of the model; a function compiled with `backend.Compiled` lists
    `variables` beside the model's.

    Args:
        layers: Number of blocks.
        tied: Whether head and embedding are one layer group.
        group: Inputs per scale of the model, which a `Plan` must share.

    Example:
        >>> switch = PrecisionSwitch(2, True, 64)
        >>> switch.set("stripe-8-4")
        >>> switch.plan.bits
        (4, 8, 4, 8, 4, 8, 4, 8, 8)
    """

    def __init__(self, layers, tied, group):
        self.layers = layers
        self.tied = tied
        self.group = group
        self.plan = None
        self._variable = None

    @property
    def bits(self):
        """Integer tensor `(groups,)`, or `None` for full precision."""
        return None if self.plan is None else self._variable.value

    @property
    def variables(self):
        """The variable behind `bits`, once something was set."""
        return [] if self._variable is None else [self._variable]

    def set(self, plan):
        """Sets a plan.

        Args:
            plan: `Plan`, what `--plan` takes, or a list with one bit-width a
                block group (and optionally embedding and head behind); `None`
                returns to full precision.

        Raises:
            UserError: the plan is of another model.
        """
        if plan is None:
            self.plan = None
            for variable in self.variables:  # what was compiled follows too
                variable.assign(np.full(variable.shape, FULL, "int32"))
            return
        plan = self._read(plan)
        bits = np.asarray(plan.bits, "int32")
        if self._variable is None:
            self._variable = keras.Variable(
                bits, dtype="int32", trainable=False, name="bitmap"
            )
        self._variable.assign(bits)
        self.plan = plan

    def _read(self, plan):
        shape = {"layers": self.layers, "tied": self.tied}
        if isinstance(plan, (str, int)):
            return Plan.parse(plan, **shape)
        if not isinstance(plan, Plan):
            return Plan.from_block_bits(list(plan), **shape)
        own = (plan.layers, plan.tied, plan.group)
        if own != (self.layers, self.tied, self.group):
            raise UserError(
                f"`plan` must be for {self.layers} blocks, tied={self.tied}, "
                f"group={self.group}. Received: {plan.layers} blocks, "
                f"tied={plan.tied}, group={plan.group}"
            )
        if plan.removes or plan.pruning:
            raise UserError(
                "`plan` must remove nothing to be kept between calls; call "
                "the model with `plan_tensor(config, plan)`. "
                f"Received: {plan.name}, which removes heads, channels or "
                "weights"
            )
        return plan
