import numpy as np
from absl.testing import parameterized
from keras import ops
from scipy import fft

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.errors import UserError
from tfshrink.ops.basis_quality import coding_gain
from tfshrink.ops.blockwise import BOUNDARIES
from tfshrink.ops.blockwise import forward
from tfshrink.ops.blockwise import inverse
from tfshrink.ops.blockwise import lap
from tfshrink.ops.transforms import dct_basis
from tfshrink.ops.transforms import FIXED
from tfshrink.ops.transforms import fixed_basis

LENGTHS = (1, 15, 16, 17, 64, 101)


def sequence(length, channels=3):
    random = np.random.default_rng(0)
    return random.normal(size=(2, 4, length, channels)).astype("float32")


def basis_of(name, block, boundary):
    return fixed_basis(name, 2 * block if boundary == "even" else block)


class BlockwiseTest(TestCase):
    @parameterized.product(
        name=sorted(FIXED), boundary=sorted(BOUNDARIES), length=LENGTHS
    )
    def test_inverse_gives_the_sequence_back(self, name, boundary, length):
        x, basis = sequence(length), basis_of(name, 16, boundary)
        found = forward(x, basis, boundary)
        self.assertEqual(tuple(found.shape), (2, 4, -(-length // 16), 16, 3))
        back = inverse(found, basis, length, boundary)
        self.assertAllClose(back, x, rtol=0, atol=1e-5)

    @parameterized.product(block=(16, 128), boundary=sorted(BOUNDARIES))
    def test_parseval_with_the_repeated_tokens(self, block, boundary):
        x = sequence(200)
        found = forward(x, basis_of("dpss", block, boundary), boundary)
        missing = -200 % block
        whole = np.square(x).sum() + missing * np.square(x[..., -1, :]).sum()
        energy = np.square(to_numpy(found)).sum()
        self.assertAllClose(energy, whole, rtol=1e-5)

    def test_blocks_apart_match_scipy(self):
        x = sequence(64)
        found = forward(x, dct_basis(16))
        wanted = fft.dct(x.reshape(2, 4, 4, 16, 3), norm="ortho", axis=-2)
        self.assertAllClose(found, wanted, rtol=0, atol=1e-5)

    def test_mirrored_cosines_are_those_of_the_block(self):
        # The DCT is the Fourier transform of the even extension.
        x = sequence(48)
        found = forward(x, dct_basis(32), "even")
        self.assertAllClose(found, forward(x, dct_basis(16)), atol=1e-5)

    def test_mirrored_blocks_are_transformed_as_a_whole(self):
        x = sequence(16)
        basis = fixed_basis("dpss", 32)
        both = np.concatenate([x, x[..., ::-1, :]], axis=-2)
        wanted = (basis @ both)[..., ::2, :] / np.sqrt(2)
        found = forward(x, basis, "even")[..., 0, :, :]
        self.assertAllClose(found, wanted, rtol=0, atol=1e-5)

    @parameterized.parameters("none", "lapped")
    def test_constants_are_one_coefficient(self, boundary):
        x = np.ones((1, 80, 1), "float32")
        found = to_numpy(forward(x, dct_basis(16), boundary))[0, ..., 0]
        self.assertAllClose(found[:, 0], np.full(5, 4.0), rtol=1e-5)
        self.assertAllClose(found[:, 1:], np.zeros((5, 15)), atol=1e-5)

    def test_lapped_coding_gain_is_malvars(self):
        # AR(1) of correlation .95: DCT of 8 has 8.83 dB, his LOT 9.22 dB.
        places = np.arange(24)
        moments = 0.95 ** np.abs(places[:, None] - places)
        filtered = np.eye(24)
        for start in (4, 12):
            rows = slice(start, start + 8)
            filtered[rows] = lap(8) @ filtered[rows]
        for rows, wanted in ((np.eye(24), 8.83), (filtered, 9.22)):
            own = dct_basis(8) @ rows[8:16]
            energies = np.diag(own @ moments @ own.T)
            self.assertAllClose(coding_gain(energies), wanted, atol=5e-3)

    def test_lapped_steps_at_ends_of_blocks_are_smaller(self):
        # AR(1) of correlation .95, two coefficients of 16.
        random = np.random.default_rng(0)
        x = random.normal(size=(1024, 32)).astype("float32")
        for time in range(1, 1024):
            x[time] = 0.95 * x[time - 1] + np.sqrt(1 - 0.95**2) * x[time]
        rows, left, steps = dct_basis(16)[:2], {}, {}
        for boundary in ("none", "lapped"):
            back = inverse(forward(x, rows, boundary), rows, 1024, boundary)
            error = to_numpy(back) - x
            left[boundary] = np.square(error).mean()
            ends = np.diff(error, axis=0)[15::16]
            steps[boundary] = np.square(ends).mean()
        self.assertLess(left["lapped"], 0.9 * left["none"])
        self.assertLess(steps["lapped"], 0.4 * steps["none"])

    def test_fewer_functions_give_the_nearest_sequence(self):
        x, rows = sequence(32), dct_basis(16)[:4]
        back = to_numpy(inverse(forward(x, rows), rows, 32))
        blocks = x.reshape(2, 4, 2, 16, 3)
        wanted = (rows.T @ rows @ blocks).reshape(x.shape)
        self.assertAllClose(back, wanted, rtol=0, atol=1e-5)

    def test_type_of_the_sequence_stays(self):
        x = ops.cast(sequence(20), "bfloat16")
        found = forward(x, dct_basis(16), "lapped")
        back = inverse(found, dct_basis(16), 20, "lapped")
        self.assertEqual(back.dtype, x.dtype)

    @parameterized.parameters(
        ("lap", np.eye(16), "`boundary` must be one of.*Did you mean `lapped`"),
        ("none", np.eye(4), "`block` must be between 8 and 128.*Received: 4"),
        ("none", np.eye(256), "`block` must be between.*Received: 256"),
        ("even", np.eye(8), "`basis` must have even and odd functions"),
        ("even", dct_basis(512), "`block` must be between.*Received: 256"),
        ("lapped", np.eye(15), "`block` must be even.*Received: 15"),
        ("none", np.ones((17, 16)), "at most 16 functions.*Received: 17"),
    )
    def test_mistake_is_named(self, boundary, basis, message):
        with self.assertRaisesRegex(UserError, message):
            forward(sequence(32), basis, boundary)
