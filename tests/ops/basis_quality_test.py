import numpy as np
from absl.testing import parameterized
from scipy.signal.windows import dpss

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.ops import basis_quality
from tfshrink.ops.transforms import dct_basis
from tfshrink.ops.transforms import fixed_basis
from tfshrink.ops.transforms import pca_basis


def markov(correlation, samples):
    """Covariance of an AR(1) sequence."""
    places = np.arange(samples)
    return correlation ** np.abs(places[:, None] - places)


def energies_of(basis, moments):
    return np.diag(basis @ moments @ basis.T)


class BasisTest(TestCase):
    def test_a_stretched_and_a_tilted_row(self):
        stretched = np.diag([1.0, 2.0, 0.5])
        error = basis_quality.orthonormality_error(stretched)
        self.assertAllClose(error, 3.0)
        self.assertAllClose(basis_quality.condition_number(stretched), 4.0)
        tilted = np.array([[1.0, 0.0], [0.6, 0.8]])
        error = basis_quality.orthonormality_error(tilted)
        self.assertAllClose(error, 0.6)
        # Of the Gram matrix, 1.6 / 0.4.
        self.assertAllClose(basis_quality.condition_number(tilted), 2.0)

    @parameterized.parameters((64, 4.0), (32, 2.5))
    def test_band_energy_of_dpss_is_scipys_ratio(self, samples, product):
        rows, ratios = dpss(samples, product, 8, return_ratios=True)
        found = basis_quality.band_energy(rows, product / samples)
        self.assertAllClose(found, ratios, rtol=1e-7, atol=1e-9)
        whole = basis_quality.band_energy(rows, 0.5)
        self.assertAllClose(whole, np.ones(8))

    def test_localisation_of_a_gaussian_is_heisenbergs_bound(self):
        time = np.arange(256)
        envelope = np.exp(-np.square((time - 128) / 12))
        rows = envelope * np.cos(2 * np.pi * 0.2 * time)
        rows = (rows / np.linalg.norm(rows))[None]
        spread, band = basis_quality.localisation(rows)
        # Of the squared envelope: 12^2 / 4, and its transform's.
        self.assertAllClose(spread, [36.0], rtol=1e-6)
        self.assertAllClose(spread * band, [1 / (16 * np.pi**2)], rtol=1e-4)

    def test_localisation_of_a_single_sample(self):
        spread, band = basis_quality.localisation(np.eye(16))
        self.assertAllClose(spread, np.zeros(16))
        self.assertAllClose(band, np.full(16, 1 / 48), rtol=0.02)

    def test_figures_of_prolate_sequences(self):
        found = basis_quality.basis_figures(fixed_basis("dpss", 64), 1 / 8)
        self.assertLess(found["orthonormality_error"], 1e-12)
        self.assertAllClose(found["condition_number"], 1.0)
        self.assertEqual(found["time_bandwidth"], 8.0)
        _, ratios = dpss(64, 8, 64, return_ratios=True)
        self.assertEqual(found["inside"], (ratios >= 0.99).sum())
        self.assertLen(found["time_variance"], 64)

    def test_band_out_of_range_is_named(self):
        with self.assertRaisesRegex(UserError, "`bandwidth`.*Received: 0.6"):
            basis_quality.band_energy(np.eye(4), 0.6)


class DataTest(TestCase):
    @parameterized.parameters(0.05, 0.125, 0.3)
    def test_bandwidth_of_limited_noise(self, wanted):
        random = np.random.default_rng(0)
        spectrum = np.fft.rfft(random.normal(size=(8192, 4)), axis=0)
        spectrum[int(8192 * wanted) :] = 0
        x = np.fft.irfft(spectrum, axis=0).reshape(64, 128, 4)
        found = basis_quality.occupied_bandwidth(x, 0.99)
        self.assertAllClose(found, wanted, rtol=0, atol=1.5 / 128)
        part = basis_quality.occupied_bandwidth(x, 0.5)
        self.assertAllClose(part, wanted / 2, rtol=0, atol=1.5 / 128)

    @parameterized.parameters(63, 64)
    def test_bandwidth_of_noise_and_of_constants(self, samples):
        random = np.random.default_rng(0)
        noise = random.normal(size=(200, samples, 4))
        found = basis_quality.occupied_bandwidth(noise, 0.9)
        self.assertAllClose(found, 0.45, rtol=0, atol=0.02)
        ones = np.ones((3, samples, 2))
        found = basis_quality.occupied_bandwidth(ones, 0.99)
        self.assertLess(found, 1.5 / samples)
        self.assertEqual(basis_quality.occupied_bandwidth(0 * ones), 0.0)

    def test_share_out_of_range_is_named(self):
        with self.assertRaisesRegex(UserError, "`share`.*Received: 1"):
            basis_quality.occupied_bandwidth(np.ones((1, 4, 1)), 1)

    def test_energies_are_those_of_the_covariance(self):
        random = np.random.default_rng(0)
        root = np.linalg.cholesky(markov(0.9, 16))
        blocks = root @ random.normal(size=(4000, 16, 2))
        found = basis_quality.coefficient_energies(blocks, dct_basis(16))
        wanted = energies_of(dct_basis(16), markov(0.9, 16))
        self.assertAllClose(found, wanted, rtol=0.1)

    @parameterized.parameters((0.8, 0.83), (0.95, 0.96))
    def test_compaction_of_cosines_on_smooth_sequences(self, rho, wanted):
        # FACTS.md: B = 32, a quarter of the coefficients.
        moments = markov(rho, 32)
        first, best = basis_quality.compaction(
            energies_of(dct_basis(32), moments), 8
        )
        self.assertAllClose(first, wanted, atol=6e-3)
        self.assertAllClose(first, best)
        optimal = pca_basis(np.linalg.cholesky(moments).T)
        _, most = basis_quality.compaction(energies_of(optimal, moments), 8)
        self.assertBetween(most - best, 0.0, 0.01)
        prolate = energies_of(fixed_basis("dpss", 32), moments)
        self.assertLess(basis_quality.compaction(prolate, 8)[1], best)

    def test_compaction_first_and_best(self):
        energies = [1.0, 5.0, 3.0, 1.0]
        found = basis_quality.compaction(energies, 2)
        self.assertAllClose(found, (0.6, 0.8))
        with self.assertRaisesRegex(UserError, "`keep`.*Received: 5"):
            basis_quality.compaction(energies, 5)

    def test_coding_gain_by_hand_and_in_books(self):
        self.assertAllClose(basis_quality.coding_gain([4.0, 1.0]), 0.9691001)
        self.assertEqual(basis_quality.coding_gain(np.zeros(4)), 0.0)
        self.assertAllClose(basis_quality.coding_gain(np.full(4, 7.0)), 0.0)
        # Jayant & Noll: cosines of 16, correlation .95.
        energies = energies_of(dct_basis(16), markov(0.95, 16))
        found = basis_quality.coding_gain(energies)
        self.assertAllClose(found, 9.46, atol=6e-3)
