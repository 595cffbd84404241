"""GPTQ: rounding that pays each column's error into the ones to come."""

import numpy as np

BLOCK = 64  # inputs whose updates are applied together


def gptq(weight, hessian, scale, bits, *, damping=0.01):
    """Rounds a weight so that its outputs, not its entries, stay close.

    Args:
        weight: `(inputs, outputs)`, NumPy.
        hessian: `(inputs, inputs)`: X^T X of the calibration inputs.
        scale: `(groups, outputs)`.
        bits: Bit-width.
        damping: Fraction of the mean diagonal added to the diagonal.

    Returns:
        int8 codes `(inputs, outputs)`, without the half step of 2 bits.

    Reference: Frantar et al., GPTQ, arXiv:2210.17323, algorithm 1.
    """
    inputs = len(weight)
    weight = np.array(weight, "float32")
    upper = _inverse_factor(hessian, damping)
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
            error /= upper[row, row]
            weight[row + 1 : stop] -= np.outer(
                upper[row, row + 1 : stop], error
            )
            errors[row - start] = error
        weight[stop:] -= upper[start:stop, stop:].T @ errors
    return codes


def _inverse_factor(hessian, damping):
    """Upper Cholesky factor of the damped inverse, float32."""
    from scipy import linalg

    hessian = np.array(hessian, "float64")
    diagonal = np.diag_indices(len(hessian))
    hessian[diagonal] += damping * np.mean(hessian[diagonal]) + 1e-12
    inverse = linalg.cho_solve(linalg.cho_factor(hessian), np.eye(len(hessian)))
    return linalg.cholesky(inverse).astype("float32")
