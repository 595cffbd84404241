"""Steps that raise a loss inside an L-infinity ball."""

from keras import ops


def sign_step(gradient, length):
    """The step of a given L-infinity length that raises a loss most.

    Args:
        gradient: Of the loss, any shape.
        length: Scalar.

    Returns:
        float32, of the shape of `gradient`; 0 where that is 0.

    Reference: FGSM, Goodfellow et al., arXiv:1412.6572, section 4.
    """
    return length * ops.sign(ops.cast(gradient, "float32"))


def projected_step(offset, gradient, length, radius):
    """A step from a point of the ball, and back to the ball.

    Args:
        offset: Where the point lies from the centre, any shape.
        gradient: Of the loss there, of the same shape.
        length: Of the step, in the L-infinity norm.
        radius: Of the ball.

    Returns:
        float32, the new offset.

    Reference: PGD, Madry et al., arXiv:1706.06083, section 2.1.
    """
    moved = ops.cast(offset, "float32") + sign_step(gradient, length)
    return ops.clip(moved, -radius, radius)
