"""Prolate spheroidal wave functions (PSWF), at evenly spaced samples too."""

import bisect
import math

import numpy as np
from scipy.linalg import eigh_tridiagonal

from tfshrink.errors import UserError

DETERMINED = 1e3  # condition number up to which samples settle a function


def pswf(c, count, x):
    """The first prolate spheroidal wave functions of order zero.

    They are the eigenfunctions of the finite Fourier transform with kernel
    e^{icxt} on [-1, 1]. Their Legendre coefficients are eigenvectors of two
    tridiagonal matrices (even and odd), which is stable whatever c: nothing
    is divided by the eigenvalues of the transform, which vanish past 2c/pi.

    Args:
        c: Bandwidth parameter, at least 0; 0 gives Legendre polynomials.
        count: Number of functions.
        x: `(n,)` points in [-1, 1].

    Returns:
        `(count, n)` float64: real, of unit norm in L2(-1, 1), orthogonal,
        from the most concentrated one on. Even ones are positive at 0, odd
        ones rise there.

    Raises:
        UserError: c is negative or no number, or there is no function.

    Reference: Xiao, Rokhlin and Yarvin, Prolate spheroidal wavefunctions,
        quadrature and interpolation, 2001, section 3.
    """
    if not (math.isfinite(c) and c >= 0):
        raise UserError(f"`c` must be a number of at least 0. Received: {c}")
    if count < 1:
        raise UserError(f"`count` must be at least 1. Received: {count}")
    series = _legendre_series(c, count)
    at_zero = np.polynomial.legendre.legval(0.0, series)
    slopes = np.polynomial.legendre.legval(
        0.0, np.polynomial.legendre.legder(series)
    )
    even = np.arange(count) % 2 == 0
    signs = np.where(np.where(even, at_zero, slopes) < 0, -1.0, 1.0)
    return np.polynomial.legendre.legval(np.asarray(x), series * signs)


def _legendre_series(c, count):
    """Coefficients of the functions in Legendre polynomials, one a column."""
    degree = int(2 * c) + 2 * count + 64  # beyond, coefficients are 0
    series = np.zeros((degree, count))
    for parity in range(min(count, 2)):
        j = np.arange(parity, degree, 2, dtype="float64")
        square = j * (j + 1)
        diagonal = square + c**2 * (2 * square - 1) / (
            (2 * j + 3) * (2 * j - 1)
        )
        i = j[:-1]
        beside = (i + 2) * (i + 1) / (2 * i + 3)
        beside = c**2 * beside / np.sqrt((2 * i + 1) * (2 * i + 5))
        last = len(range(parity, count, 2)) - 1
        _, vectors = eigh_tridiagonal(
            diagonal, beside, select="i", select_range=(0, last)
        )
        # Polynomials of unit norm have the factor of the row.
        series[parity::2, parity::2] = vectors * np.sqrt(j + 0.5)[:, None]
    return series


def sampled_pswf(samples, c):
    """The functions at the midpoints of equal parts of [-1, 1].

    Tokens are evenly spaced and count alike, so midpoints it is: at the nodes
    of a Gauss-Legendre rule the rows would be orthonormal by themselves, but
    a block has no numbers there.

    Args:
        samples: Number of samples n.
        c: Bandwidth parameter, between 0 and pi n / 2: pi n times the half
            bandwidth in cycles per sample.

    Returns:
        `(n, n)` float64, rows scaled to about unit length. The first 2c/pi
        rows are orthonormal up to the error of the midpoint rule; rows far
        behind them are nearly dependent.

    Raises:
        UserError: c is out of range.
    """
    limit = math.pi * samples / 2
    if not 0 <= c <= limit * (1 + 1e-12):
        raise UserError(
            f"`c` must be between 0 and {limit:.2f}, half a cycle per sample. "
            f"Received: {c}"
        )
    midpoints = (2 * np.arange(samples) + 1) / samples - 1
    return pswf(c, samples, midpoints) * math.sqrt(2 / samples)


def pswf_basis(samples, c):
    """Orthonormal rows from the sampled functions.

    QR it is, in their order: the first k rows span what the first k sampled
    functions span, for every k. Functions that samples do not determine (past
    a condition number of `DETERMINED`; all 2c/pi useful ones come before)
    would be rounding noise. In their place stands what the others leave of
    the space, ordered by frequency.

    Args:
        samples: As in `sampled_pswf`.
        c: As in `sampled_pswf`.

    Returns:
        `(n, n)` float64.
    """
    sampled = sampled_pswf(samples, c)
    count = determined(sampled)
    columns, upper = np.linalg.qr(sampled[:count].T, mode="complete")
    first = columns[:, :count] * np.sign(np.diag(upper))
    rest = _by_frequency(columns[:, count:])
    return np.concatenate([first, rest], axis=1).T


def determined(sampled):
    """How many of the first rows are far from dependent."""
    return bisect.bisect(
        range(1, len(sampled) + 1),
        DETERMINED,
        key=lambda count: np.linalg.cond(sampled[:count]),
    )


def _by_frequency(columns):
    """Other orthonormal columns of the same span, smooth ones first."""
    steps = np.diff(columns, axis=0)
    _, turn = np.linalg.eigh(steps.T @ steps)
    return columns @ turn
