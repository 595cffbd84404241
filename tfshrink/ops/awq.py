"""AWQ: input channels that matter are scaled up before rounding."""

import numpy as np

GRID = tuple(step / 10 for step in range(10))


def input_scale(magnitude, alpha):
    """Factors of input channels: their magnitude to the power of `alpha`.

    Args:
        magnitude: Mean |x| of each input channel, `(inputs,)`.
        alpha: Exponent; 0 leaves all channels alike.

    Returns:
        float32 `(inputs,)`, its extremes each other's inverse.

    Reference: Lin et al., AWQ, arXiv:2306.00978, equation 5.
    """
    magnitude = np.asarray(magnitude, "float64")
    # A channel that never fires must not be divided by nothing.
    magnitude = np.maximum(magnitude, 1e-4 * magnitude.max() + 1e-12)
    scale = magnitude**alpha
    return (scale / np.sqrt(scale.max() * scale.min())).astype("float32")


def output_error(difference, hessian):
    """Mean squared change of `x W` when W changes by `difference`.

    Args:
        difference: `(inputs, outputs)`.
        hessian: Mean of x xᵀ, `(inputs, inputs)`.

    Returns:
        The sum over outputs, a float.
    """
    return float(np.sum(difference * (hessian @ difference)))


def best_input_scale(weights, hessian, magnitude, round_weight, *, grid=GRID):
    """Searches the exponent of `input_scale` by the error of the outputs.

    Args:
        weights: Kernels `(inputs, outputs)` that share their input.
        hessian: Mean of x xᵀ, `(inputs, inputs)`.
        magnitude: Mean |x|, `(inputs,)`.
        round_weight: Function of a kernel and of the mean square of each of
            its inputs to the rounded kernel.
        grid: Exponents to try; with 0 in it the result is never worse than
            no scaling.

    Returns:
        `(scale, alpha, error)`: float32 `(inputs,)`, its exponent, and the
        output error at it.
    """
    best = None
    power = np.diag(hessian)
    for alpha in grid:
        scale = input_scale(magnitude, alpha)
        column = scale[:, None]
        error = 0.0
        for weight in weights:
            rounded = round_weight(weight * column, power / scale**2)
            error += output_error(rounded / column - weight, hessian)
        if best is None or error < best[2]:
            best = scale, alpha, error
    return best
