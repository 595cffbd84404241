"""Which basis holds most energy of given data in few coefficients."""

import numpy as np

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.ops.basis_quality import coding_gain
from tfshrink.ops.basis_quality import coefficient_energies
from tfshrink.ops.basis_quality import compaction
from tfshrink.ops.transforms import BANDWIDTH
from tfshrink.ops.transforms import FIXED
from tfshrink.ops.transforms import fixed_basis
from tfshrink.ops.transforms import pca_basis

PCA = "pca"
NAMES = (*FIXED, PCA)


def choose_basis(blocks, names, keep, *, bandwidth=BANDWIDTH):
    """Measures bases on data and picks one.

    Every other block is measured; the rest is what principal components are
    found on, so that they meet data they do not know.

    Args:
        blocks: `(N, n, C)`, at least two blocks.
        names: Of `NAMES`.
        keep: Coefficients of a block that are to hold the energy.
        bandwidth: Half bandwidth of dpss and pswf, cycles per sample.

    Returns:
        `(name, table)`: the basis whose best `keep` coefficients hold most,
        the first of `names` among equals; and a dict of each name to `first`,
        `best` (shares of the energy, see `compaction`) and `coding_gain` (dB).

    Raises:
        UserError: Names, blocks or `keep` are out of range.
    """
    blocks = np.asarray(blocks, "float64")
    if blocks.ndim != 3 or len(blocks) < 2:
        raise UserError(
            "`blocks` must be (N, n, C) with N of at least 2. "
            f"Received: shape {blocks.shape}"
        )
    if not names:
        raise UserError(
            f"`names` must hold some of {', '.join(NAMES)}. Received: none"
        )
    known, measured = blocks[::2], blocks[1::2]
    samples = blocks.shape[1]
    table = {}
    for name in names:
        if name not in NAMES:
            raise unknown_choice("names", name, NAMES)
        if name == PCA:
            vectors = np.moveaxis(known, 1, 2).reshape(-1, samples)
            basis = pca_basis(vectors)
        else:
            basis = fixed_basis(name, samples, bandwidth=bandwidth)
        energies = coefficient_energies(measured, basis)
        first, best = compaction(energies, keep)
        gain = coding_gain(energies)
        table[name] = {"first": first, "best": best, "coding_gain": gain}
    # Rounding decides nothing: shares that differ by less are equal.
    return max(table, key=lambda name: round(table[name]["best"], 9)), table
