import numpy as np
from absl.testing import parameterized
from scipy.signal.windows import dpss
from scipy.special import eval_legendre
from scipy.special import roots_legendre

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.ops.prolate import determined
from tfshrink.ops.prolate import pswf
from tfshrink.ops.prolate import pswf_basis
from tfshrink.ops.prolate import sampled_pswf

# Energy inside [-1, 1] of the band-limited function, Slepian & Pollak 1961.
CONCENTRATIONS = {
    0.5: [0.30969, 0.0085811],
    1.0: [0.57258, 0.062791],
    2.0: [0.88056, 0.35564],
    4.0: [0.99589, 0.91211],
}
NODES, WEIGHTS = roots_legendre(1200)


def sinc_kernel(c):
    """The kernel sin c(x - t) / pi (x - t) at all pairs of nodes."""
    apart = NODES[:, None] - NODES
    return c / np.pi * np.sinc(c / np.pi * apart)


class PSWFTest(TestCase):
    @parameterized.parameters(*CONCENTRATIONS)
    def test_concentration_is_that_of_slepians_table(self, c):
        values = pswf(c, 2, NODES)
        weighted = values * WEIGHTS
        found = np.diag(weighted @ sinc_kernel(c) @ weighted.T)
        self.assertAllClose(found, CONCENTRATIONS[c], rtol=2e-5)

    @parameterized.parameters(0.5, 10.0, 100.0, 1000.0)
    def test_eigenfunctions_of_the_sinc_kernel(self, c):
        values = pswf(c, 12, NODES)
        applied = (values * WEIGHTS) @ sinc_kernel(c)
        gram = (values * WEIGHTS) @ values.T
        self.assertAllClose(gram, np.eye(12), rtol=0, atol=1e-11)
        # Orthogonal over the line too: the kernel's quadratic form.
        double = (values * WEIGHTS) @ applied.T
        concentration = np.diag(double)
        self.assertAllClose(double, np.diag(concentration), rtol=0, atol=1e-11)
        wanted = concentration[:, None] * values
        self.assertAllClose(applied, wanted, rtol=0, atol=1e-10)
        self.assertTrue((np.diff(concentration) < 1e-12).all())

    @parameterized.parameters(1.0, 30.0, 300.0)
    def test_eigenfunctions_of_the_finite_fourier_transform(self, c):
        values = pswf(c, 8, NODES)
        kernel = np.exp(1j * c * NODES[:, None] * NODES)
        applied = (values * WEIGHTS) @ kernel
        factors = (applied * WEIGHTS * values).sum(axis=1)
        wanted = factors[:, None] * values
        self.assertLess(np.abs(applied - wanted).max(), 1e-10)
        phases = factors / np.abs(factors)  # i^n, to the sign
        turned = phases / 1j ** np.arange(8)
        self.assertAllClose(np.abs(turned.real[:5]), np.ones(5), atol=1e-6)

    @parameterized.parameters((1.0, 30), (100.0, 100), (1000.0, 40))
    def test_they_solve_the_differential_equation(self, c, count):
        # ((1 - x^2) f')' - c^2 x^2 f = -chi f, by a series of our own.
        values = pswf(c, count, NODES)
        degree = np.arange(int(1.1 * c) + 2 * count + 20)
        polynomials = np.polynomial.legendre.legvander(NODES, degree[-1]).T
        series = (values * WEIGHTS) @ polynomials.T * (degree + 0.5)
        moved = -(series * degree * (degree + 1)) @ polynomials
        moved -= (c * NODES) ** 2 * values
        chi = -(moved * WEIGHTS * values).sum(axis=1, keepdims=True)
        scale = np.maximum(chi, c**2)
        left = (np.square((moved + chi * values) / scale) * WEIGHTS).sum(1)
        self.assertLess(np.sqrt(left).max(), 1e-7)
        self.assertTrue((np.diff(chi[:, 0]) > 0).all())

    def test_without_a_band_they_are_legendre_polynomials(self):
        x = np.linspace(-1, 1, 9)
        found = pswf(0.0, 6, x)
        for n, row in enumerate(found):
            wanted = np.sqrt(n + 0.5) * eval_legendre(n, x)
            self.assertAllClose(np.abs(row), np.abs(wanted), atol=1e-12)

    def test_signs_are_settled_at_zero(self):
        x = np.array([-1e-4, 0.0, 1e-4])
        for c in (0.0, 3.0, 1000.0):
            values = pswf(c, 40, x)
            self.assertTrue((values[::2, 1] > 0).all())
            self.assertTrue((values[1::2, 2] > values[1::2, 0]).all())

    @parameterized.parameters(
        (-1.0, 4, "`c` must be a number of at least 0. Received: -1"),
        (float("nan"), 4, "`c` must be"),
        (1.0, 0, "`count` must be at least 1. Received: 0"),
    )
    def test_mistake_is_named(self, c, count, message):
        with self.assertRaisesRegex(UserError, message):
            pswf(c, count, NODES)


class BasisTest(TestCase):
    @parameterized.product(samples=[16, 33, 64, 128, 256], band=[0, 0.125, 0.5])
    def test_rows_are_orthonormal(self, samples, band):
        basis = pswf_basis(samples, np.pi * samples * band)
        self.assertAllClose(
            basis @ basis.T, np.eye(samples), rtol=0, atol=1e-13
        )

    def test_first_rows_span_the_sampled_functions(self):
        sampled = sampled_pswf(64, np.pi * 8)
        basis = pswf_basis(64, np.pi * 8)
        for count in (1, 5, 16, 30):
            own = sampled[:count]
            left = own - own @ basis[:count].T @ basis[:count]
            self.assertLess(np.abs(left).max(), 1e-12)
        nearest = (sampled[:12] * basis[:12]).sum(axis=1)
        self.assertAllClose(nearest, np.ones(12), atol=1e-3)

    def test_useful_samples_are_well_conditioned_and_all_are_not(self):
        sampled = sampled_pswf(64, np.pi * 8)
        self.assertLess(np.linalg.cond(sampled[:16]), 1.01)
        self.assertGreater(np.linalg.cond(sampled), 1e12)
        self.assertBetween(determined(sampled), 17, 60)

    def test_span_nears_that_of_discrete_sequences(self):
        # The 12 most concentrated of 2 n W = 16.
        discrete = dpss(64, 8, 12)
        basis = pswf_basis(64, np.pi * 8)[:12]
        cosines = np.linalg.svd(discrete @ basis.T, compute_uv=False)
        self.assertGreater(cosines.min(), 0.999)

    def test_what_samples_do_not_determine_has_parity_too(self):
        basis = pswf_basis(128, np.pi * 16)
        mirrored = (basis * basis[:, ::-1]).sum(axis=1)
        self.assertAllClose(np.abs(mirrored), np.ones(128), atol=1e-10)

    @parameterized.parameters(-0.5, 101.0)
    def test_band_is_at_most_half_a_cycle(self, c):
        message = "`c` must be between 0 and 100.53"
        with self.assertRaisesRegex(UserError, message):
            sampled_pswf(64, c)
