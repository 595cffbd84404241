"""Attacks on the embedded tokens of a batch."""

from tfshrink.ops.adversarial import projected_step
from tfshrink.ops.adversarial import sign_step


def fgsm(slope, start, *, radius, length, steps):
    """One step to the corner that the gradient points at.

    Args:
        slope: Function of an offset and the number of a step to the gradient
            of the loss there.
        start: Where the attack begins, zeros `(B, T, C)`.
        radius: L-infinity radius of the ball.
        length: Not looked at, as `steps`: there is one step of `radius`.
        steps: As said.

    Returns:
        The offset, `(B, T, C)`.
    """
    return sign_step(slope(start, 0), radius)


def pgd(slope, start, *, radius, length, steps):
    """Steps along the sign of the gradient, each projected onto the ball.

    Args:
        slope: As for `fgsm`.
        start: As for `fgsm`.
        radius: L-infinity radius of the ball.
        length: Of a step, in the L-infinity norm.
        steps: How many.

    Returns:
        The offset, `(B, T, C)`.
    """
    offset = start
    for step in range(steps):
        offset = projected_step(offset, slope(offset, step), length, radius)
    return offset


RUN = {"fgsm": fgsm, "pgd": pgd}


class Attacker:
    """Looks for offsets of embedded tokens that raise the loss.

    Args:
        forward: `DisturbedForward`.
        settings: `RobustnessSettings`.
        scale: What an epsilon of 1 is: the RMS of the embedding.
    """

    def __init__(self, forward, settings, scale):
        self.forward = forward
        self.settings = settings
        self.scale = scale

    def __call__(self, condition, batch, plans_of):
        """Attacks a batch.

        Args:
            condition: `Condition` of an attack.
            batch: `WindowBatch`.
            plans_of: Function of the number of a step to the plans
                (`InForce`) whose mean gradient it follows.

        Returns:
            Offset `(B, T, C)`, a float32 tensor.
        """

        def slope(offset, step):
            found = [
                self.forward.slope(plan, batch.tokens, batch.mask, offset)
                for plan in plans_of(step)
            ]
            return sum(found[1:], found[0])  # the sign is that of the mean

        settings, epsilon = self.settings, condition.strength
        return RUN[condition.kind](
            slope,
            self.forward.no_offset(batch.tokens),
            radius=self.scale * epsilon,
            length=self.scale * settings.step_length(epsilon),
            steps=settings.steps,
        )
