"""GPTQ: rounding that pays each column's error into the ones to come."""

import numpy as np

BLOCK = 64  # inputs whose updates are applied together


def gptq(weight, factor, scale, bits):
    """Rounds a weight so that its outputs, not its entries, stay close.

    Args:
        weight: `(inputs, outputs)`, NumPy.
        factor: `(inputs, inputs)`, of `inverse_factor`.
        scale: `(groups, outputs)`.
        bits: Bit-width.

    Returns:
        int8 codes `(inputs, outputs)`, without the half step of 2 bits.

    Reference: Frantar et al., GPTQ, arXiv:2210.17323, algorithm 1.
    """
    inputs = len(weight)
    weight = np.array(weight, "float32")
    steps = np.repeat(scale, inputs // len(scale), axis=0)
    high = 2 ** (bits - 1) - 1
    low, offset = (-2, 0.5) if bits == 2 else (-high, 0.0)
    codes = np.empty(weight.shape, "int8")
    for start in range(0, inputs, BLOCK):
        stop = min(start + BLOCK, inputs)
        errors = np.empty((stop - start, weight.shape[1]), "float32")
        for row in range(start, stop):
            code = np.rint(weight[row] / steps[row] - offset)
            code = np.clip(code, low, high)
            codes[row] = code
            error = weight[row] - (code + offset) * steps[row]
            error /= factor[row, row]
            weight[row + 1 : stop] -= factor[row, row + 1 : stop, None] * error
            errors[row - start] = error
        weight[stop:] -= factor[start:stop, stop:].T @ errors
    return codes


def inverse_factor(hessian, *, damping=0.01):
    """Upper Cholesky factor of the damped inverse of a Hessian.

    Args:
        hessian: `(inputs, inputs)`: X^T X of the calibration inputs.
        damping: Fraction of the mean diagonal added to the diagonal.

    Returns:
        float32 `(inputs, inputs)`.
    """
    from scipy import linalg

    hessian = np.array(hessian, "float64")
    diagonal = np.diag_indices(len(hessian))
    hessian[diagonal] += damping * np.mean(hessian[diagonal]) + 1e-12
    # With J the reversal, chol(J H J) gives H = U U^T with U upper; then
    # the inverse is U^-T U^-1, and U^-1 is the factor: one Cholesky only.
    lower = linalg.cholesky(hessian[::-1, ::-1], lower=True)
    upper = lower[::-1, ::-1]
    inverse = linalg.solve_triangular(upper, np.eye(len(upper)))
    return inverse.astype("float32")
