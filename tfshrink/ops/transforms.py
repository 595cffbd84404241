"""Orthonormal bases of a block of samples: rows are basis functions."""

import functools

import numpy as np

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.ops.prolate import pswf_basis

BANDWIDTH = 1 / 8  # cycles per sample
LEAST = 8  # samples of a block


def dct_basis(samples):
    """Cosines: the orthonormal DCT-II, `(n, n)` float64."""
    places = np.arange(samples)
    angles = np.pi / samples * np.outer(places, places + 0.5)
    rows = np.cos(angles) * np.sqrt(2 / samples)
    rows[0] /= np.sqrt(2)
    return rows


def hadamard_basis(samples):
    """Walsh functions, those with fewer changes of sign first.

    Args:
        samples: Number of samples n, a power of two.

    Returns:
        `(n, n)` float64 of entries +-1/sqrt(n).

    Raises:
        UserError: n is no power of two.
    """
    if samples < 1 or samples & (samples - 1):
        raise UserError(
            f"`samples` of hadamard must be a power of two. Received: {samples}"
        )
    rows = np.ones((1, 1))
    while len(rows) < samples:
        rows = np.block([[rows, rows], [rows, -rows]])
    changes = (np.diff(rows, axis=1) != 0).sum(axis=1)
    return rows[np.argsort(changes)] / np.sqrt(samples)


def dpss_basis(samples, bandwidth=BANDWIDTH):
    """Discrete prolate spheroidal (Slepian) sequences.

    Of all sequences of n samples the first has most of its energy at
    frequencies up to the bandwidth, the next most of what is orthogonal to it.
    About 2 n W of them have nearly all.

    Args:
        samples: Number of samples n.
        bandwidth: Half bandwidth W in cycles per sample, in (0, 1/2).

    Returns:
        `(n, n)` float64.

    Raises:
        UserError: The bandwidth is out of range.

    Reference: Slepian, Prolate spheroidal wave functions V, 1978.
    """
    from scipy.signal.windows import dpss

    if not 0 < bandwidth < 0.5:
        raise UserError(
            "`bandwidth` must be between 0 and 0.5 cycles per sample, without "
            f"either. Received: {bandwidth}"
        )
    return dpss(samples, samples * bandwidth, samples)


def pca_basis(blocks, *, weights=None, mean=None):
    """Principal components: the basis in which given blocks vary apart.

    Args:
        blocks: `(N, n)`.
        weights: `(N,)`, not negative: how much each block counts; `None`
            counts all alike.
        mean: `(n,)`, subtracted first; `None` subtracts nothing, so that the
            components are of second moments about 0.

    Returns:
        `(n, n)` float64, the component of most energy first, the largest
        entry of each positive.

    Raises:
        UserError: Weights are negative, all 0, or not one a block.
    """
    blocks = np.asarray(blocks, "float64")
    if mean is not None:
        blocks = blocks - mean
    if weights is None:
        weights = np.ones(len(blocks))
    weights = np.asarray(weights, "float64")
    right = weights.shape == (len(blocks),) and (weights >= 0).all()
    if not right or not weights.any():
        raise UserError(
            "`weights` must hold one number of at least 0 for each of the "
            f"{len(blocks)} blocks, and not only 0. "
            f"Received: shape {weights.shape}"
        )
    moments = (blocks * (weights / weights.sum())[:, None]).T @ blocks
    _, columns = np.linalg.eigh(moments)
    rows = columns.T[::-1]
    peaks = np.abs(rows).argmax(axis=1)
    return rows * np.sign(rows[np.arange(len(rows)), peaks])[:, None]


# Those that need no data, as functions of samples and bandwidth.
FIXED = {
    "dct": lambda samples, bandwidth: dct_basis(samples),
    "dpss": dpss_basis,
    "hadamard": lambda samples, bandwidth: hadamard_basis(samples),
    "pswf": lambda samples, bandwidth: pswf_basis(
        samples, np.pi * samples * bandwidth
    ),
}


@functools.lru_cache(maxsize=64)
def fixed_basis(name, samples, *, bandwidth=BANDWIDTH, functions=None):
    """Builds an orthonormal basis by name, once.

    Args:
        name: One of `FIXED`.
        samples: Number of samples n, at least `LEAST`.
        bandwidth: Half bandwidth of dpss and pswf, cycles per sample.
        functions: Number of rows, at most n; `None` is n.

    Returns:
        `(functions, n)` float64, not to be written to.

    Raises:
        UserError: The name is unknown, or a number is out of range.
    """
    if name not in FIXED:
        raise unknown_choice("basis", name, FIXED)
    if samples < LEAST:
        raise UserError(
            f"`samples` must be at least {LEAST}. Received: {samples}"
        )
    functions = samples if functions is None else functions
    if not 1 <= functions <= samples:
        raise UserError(
            f"`functions` must be between 1 and {samples}, the samples. "
            f"Received: {functions}"
        )
    rows = FIXED[name](samples, bandwidth)[:functions]
    rows.setflags(write=False)
    return rows
