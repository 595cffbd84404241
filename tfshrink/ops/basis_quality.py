"""How good a basis is, by itself and for given data."""

import numpy as np

from tfshrink.errors import UserError

FLOOR = 1e-12  # least energy of a coefficient, of the mean one
INSIDE = 0.99  # of a function's energy, to count as inside a band
PADDING = 32  # spectra are taken at so many times as many places


def basis_figures(basis, bandwidth):
    """All that is to be said of a basis without data.

    Args:
        basis: `(K, n)`, rows of unit length.
        bandwidth: Half bandwidth W in cycles per sample.

    Returns:
        Dict of numbers, and of lists with one number a function:
        `orthonormality_error`, `condition_number`, `time_bandwidth` (n W),
        `inside` (functions with `INSIDE` of their energy in the band),
        `band_energy`, `time_variance` and `frequency_variance`.
    """
    energy = band_energy(basis, bandwidth)
    time, frequency = localisation(basis)
    return {
        "orthonormality_error": orthonormality_error(basis),
        "condition_number": condition_number(basis),
        "time_bandwidth": basis.shape[1] * bandwidth,
        "inside": int((energy >= INSIDE).sum()),
        "band_energy": energy.tolist(),
        "time_variance": time.tolist(),
        "frequency_variance": frequency.tolist(),
    }


def orthonormality_error(basis):
    """Largest entry of B B' - 1, for rows `(K, n)`."""
    basis = np.asarray(basis, "float64")
    return float(np.abs(basis @ basis.T - np.eye(len(basis))).max())


def condition_number(basis):
    """Largest singular value over the smallest, for rows `(K, n)`.

    That of the Gram matrix B B' is its square. 1 is orthonormal; errors of
    coefficients grow by up to so much where they are solved for.
    """
    return float(np.linalg.cond(np.asarray(basis, "float64")))


def band_energy(basis, bandwidth):
    """Share of each function's energy at frequencies up to a bandwidth.

    Exact, through the sinc kernel. Of Slepian sequences of that bandwidth it
    is the eigenvalue.

    Args:
        basis: `(K, n)`, rows of unit length.
        bandwidth: Half bandwidth W in cycles per sample, at most 1/2.

    Returns:
        `(K,)` in [0, 1].

    Raises:
        UserError: The bandwidth is out of range.
    """
    if not 0 < bandwidth <= 0.5:
        raise UserError(
            "`bandwidth` must be above 0 and at most 0.5 cycles per sample. "
            f"Received: {bandwidth}"
        )
    basis = np.asarray(basis, "float64")
    places = np.arange(basis.shape[1])
    kernel = 2 * bandwidth * np.sinc(2 * bandwidth * (places[:, None] - places))
    return np.clip(np.einsum("ki,ij,kj->k", basis, kernel, basis), 0.0, 1.0)


def localisation(basis):
    """Spread of each function in time and in frequency.

    Frequencies are those above 0, so that a function that swings counts for
    its own band, not for the distance between the band and its mirror image.
    Then no product is below 1 / 16 pi^2 = 0.0063, which Gaussians have,
    except near frequencies 0 and 1/2.

    Args:
        basis: `(K, n)`, rows of unit length.

    Returns:
        `(time, frequency)`: variances `(K,)`, in samples^2 and
        (cycles per sample)^2.
    """
    basis = np.asarray(basis, "float64")
    samples = basis.shape[1]
    spectrum = np.abs(np.fft.rfft(basis, PADDING * samples)) ** 2
    frequencies = np.linspace(0.0, 0.5, spectrum.shape[1])
    return (
        _variance(np.arange(samples), basis**2),
        _variance(frequencies, spectrum),
    )


def _variance(places, energies):
    """Variance of places, weighted by energies; one a row."""
    weights = energies / energies.sum(axis=1, keepdims=True)
    mean = weights @ places
    return (weights * np.square(places - mean[:, None])).sum(axis=1)


def occupied_bandwidth(blocks, share=0.95):
    """The least half bandwidth that holds a share of the energy of data.

    Taken from the mean power spectrum along time under a Hann window, without
    which the jump at the ends of a block would look like high frequencies.

    Args:
        blocks: `(..., n, C)`: n samples of C channels.
        share: Between 0 and 1.

    Returns:
        W in cycles per sample, at most 1/2; right to about 1 / n.

    Raises:
        UserError: The share is out of range.
    """
    if not 0 < share < 1:
        raise UserError(
            f"`share` must be between 0 and 1, without either. "
            f"Received: {share}"
        )
    blocks = np.asarray(blocks, "float64")
    samples = blocks.shape[-2]
    window = np.sin(np.pi * (np.arange(samples) + 0.5) / samples) ** 2
    spectrum = np.abs(np.fft.rfft(blocks * window[:, None], axis=-2)) ** 2
    power = np.moveaxis(spectrum, -2, 0).reshape(spectrum.shape[-2], -1)
    power = power.sum(axis=1)
    # 0 and, of an even number of samples, 1/2 have no mirror image.
    power[1 : (samples + 1) // 2] *= 2
    inside = np.cumsum(power)
    if inside[-1] == 0:
        return 0.0
    first = int(np.argmax(inside >= share * inside[-1]))
    return first / samples


def coefficient_energies(blocks, basis):
    """Mean square of each coefficient.

    Args:
        blocks: `(N, n, C)`.
        basis: `(K, n)`.

    Returns:
        `(K,)`.
    """
    found = np.asarray(basis) @ np.asarray(blocks, "float64")
    return np.square(found).mean(axis=(0, 2))


def compaction(energies, keep):
    """Share of the energy that few coefficients hold.

    Args:
        energies: `(n,)` of `coefficient_energies`, with a whole basis.
        keep: Number k of coefficients.

    Returns:
        `(first, best)`: of the first k, and of those k with most energy on
        average, the same ones for all blocks.

    Raises:
        UserError: k is out of range.
    """
    energies = np.asarray(energies)
    if not 1 <= keep <= len(energies):
        raise UserError(
            f"`keep` must be between 1 and {len(energies)} coefficients. "
            f"Received: {keep}"
        )
    total = max(energies.sum(), np.finfo("float64").tiny)
    best = np.sort(energies)[::-1][:keep].sum()
    return float(energies[:keep].sum() / total), float(best / total)


def coding_gain(energies):
    """Arithmetic over geometric mean of the coefficients' energies, in dB.

    At equal bits, and many of them, quantizing coefficients leaves so much
    less error than quantizing samples; 6.02 dB are a bit per number.

    Args:
        energies: `(n,)` of `coefficient_energies`, with a whole orthonormal
            basis; those below `FLOOR` of the mean count as that.
    """
    mean = np.mean(energies)
    if mean == 0:
        return 0.0
    relative = np.maximum(np.asarray(energies) / mean, FLOOR)
    return float(-10 * np.log10(relative).mean())
