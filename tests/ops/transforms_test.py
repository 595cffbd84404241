import numpy as np
from absl.testing import parameterized
from scipy import fft
from scipy.linalg import hadamard
from scipy.signal.windows import dpss

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.ops.transforms import dct_basis
from tfshrink.ops.transforms import dpss_basis
from tfshrink.ops.transforms import FIXED
from tfshrink.ops.transforms import fixed_basis
from tfshrink.ops.transforms import hadamard_basis
from tfshrink.ops.transforms import pca_basis

SIZES = (8, 16, 64, 128)


class FixedBasisTest(TestCase):
    @parameterized.product(name=sorted(FIXED), samples=SIZES)
    def test_orthonormal_and_parseval(self, name, samples):
        basis = fixed_basis(name, samples)
        self.assertEqual((basis.shape, basis.dtype), ((samples,) * 2, float))
        self.assertAllClose(
            basis @ basis.T, np.eye(samples), rtol=0, atol=1e-12
        )
        x = np.random.default_rng(0).normal(size=samples)
        self.assertAllClose(np.square(basis @ x).sum(), np.square(x).sum())

    @parameterized.parameters(1, 5, 16, 63, 128)
    def test_dct_matches_scipy(self, samples):
        x = np.random.default_rng(0).normal(size=(samples, 3))
        wanted = fft.dct(x, norm="ortho", axis=0)
        self.assertAllClose(dct_basis(samples) @ x, wanted, atol=1e-12)

    @parameterized.parameters(2, 16, 128)
    def test_hadamard_is_scipys_in_order_of_sequency(self, samples):
        basis = hadamard_basis(samples)
        changes = (np.diff(np.sign(basis), axis=1) != 0).sum(axis=1)
        self.assertAllEqual(changes, np.arange(samples))
        known = {tuple(row) for row in hadamard(samples)}
        signs = (basis * np.sqrt(samples)).round().astype(int)
        self.assertEqual({tuple(row) for row in signs}, known)

    @parameterized.parameters((16, 0.2), (64, 1 / 16), (128, 0.45))
    def test_dpss_matches_scipy(self, samples, bandwidth):
        found = dpss_basis(samples, bandwidth)[:6]
        wanted = dpss(samples, samples * bandwidth, 6)
        self.assertAllClose(found, wanted, atol=1e-12)

    def test_first_rows_alone(self):
        found = fixed_basis("dct", 32, functions=5)
        self.assertAllEqual(found, dct_basis(32)[:5])

    @parameterized.parameters(
        (("dtc", 16), {}, "`basis` must be one of.*Did you mean `dct`"),
        (("hadamard", 48), {}, "power of two. Received: 48"),
        (("dct", 4), {}, "`samples` must be at least 8. Received: 4"),
        (("dct", 16), {"functions": 17}, "`functions` must be.*Received: 17"),
        (("dct", 16), {"functions": 0}, "`functions` must be.*Received: 0"),
        (("dpss", 16), {"bandwidth": 0.5}, "`bandwidth` must be between"),
        (("pswf", 16), {"bandwidth": -0.1}, "`c` must be between 0 and"),
    )
    def test_mistake_is_named(self, arguments, options, message):
        with self.assertRaisesRegex(UserError, message):
            fixed_basis(*arguments, **options)


class PCABasisTest(TestCase):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(0)
        mix = random.normal(size=(8, 8))
        self.blocks = random.normal(size=(500, 8)) @ mix + 3.0

    def test_coefficients_are_uncorrelated_and_fall(self):
        basis = pca_basis(self.blocks)
        found = self.blocks @ basis.T
        moments = found.T @ found / 500
        self.assertAllClose(
            moments, np.diag(np.diag(moments)), rtol=0, atol=1e-10
        )
        self.assertTrue((np.diff(np.diag(moments)) < 0).all())
        self.assertAllClose(basis @ basis.T, np.eye(8), rtol=0, atol=1e-12)
        self.assertTrue((basis.max(1) == np.abs(basis).max(1)).all())

    def test_about_the_mean_it_is_numpys_covariance(self):
        basis = pca_basis(self.blocks, mean=self.blocks.mean(0))
        values = np.linalg.eigvalsh(np.cov(self.blocks.T, bias=True))
        found = np.var(self.blocks @ basis.T, axis=0)
        self.assertAllClose(found, values[::-1], rtol=1e-9)

    def test_whole_weights_are_repetitions(self):
        weights = np.arange(500) % 3
        found = pca_basis(self.blocks, weights=weights)
        wanted = pca_basis(np.repeat(self.blocks, weights, axis=0))
        self.assertAllClose(found, wanted, atol=1e-9)

    @parameterized.parameters(
        (np.ones(499), r"Received: shape \(499,\)"),
        (np.zeros(500), "not only 0"),
        (-np.ones(500), "at least 0"),
    )
    def test_mistaken_weights_are_named(self, weights, message):
        with self.assertRaisesRegex(UserError, message):
            pca_basis(self.blocks, weights=weights)
