import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.ops.basis_choice import choose_basis
from tfshrink.ops.basis_choice import NAMES
from tfshrink.ops.transforms import fixed_basis


def blocks_of(basis, count=400, channels=3):
    """Blocks that a few functions of a basis make, and little noise."""
    random = np.random.default_rng(0)
    sizes = np.geomspace(3, 1, 6)[:, None]
    numbers = sizes * random.normal(size=(count, 6, channels))
    noise = 0.05 * random.normal(size=(count, basis.shape[1], channels))
    return basis[:6].T @ numbers + noise


class ChooseBasisTest(TestCase):
    @parameterized.parameters("dct", "dpss", "hadamard")
    def test_what_made_the_data_is_picked(self, name):
        blocks = blocks_of(fixed_basis(name, 32))
        fixed = [own for own in NAMES if own != "pca"]
        found, table = choose_basis(blocks, fixed, 6)
        self.assertEqual(found, name)
        self.assertEqual(list(table), fixed)
        self.assertGreater(table[name]["best"], 0.98)
        gains = {own: row["coding_gain"] for own, row in table.items()}
        self.assertEqual(max(gains, key=gains.get), name)

    def test_where_no_fixed_one_fits_components_are_picked(self):
        random = np.random.default_rng(1)
        own, _ = np.linalg.qr(random.normal(size=(32, 32)))
        found, table = choose_basis(blocks_of(own.T), NAMES, 6)
        self.assertEqual(found, "pca")
        self.assertGreater(table["pca"]["first"], 0.98)
        self.assertLess(table["dct"]["best"], 0.6)

    def test_components_of_noise_gain_nothing(self):
        # They are found on other blocks than those measured.
        noise = np.random.default_rng(0).normal(size=(40, 32, 2))
        _, table = choose_basis(noise, ["pca", "dct"], 8)
        self.assertLess(table["pca"]["first"], 0.3)

    def test_among_equals_the_first_is_picked(self):
        blocks = blocks_of(fixed_basis("dct", 16))
        self.assertEqual(
            choose_basis(blocks, ["hadamard", "dct"], 16)[0], "hadamard"
        )

    @parameterized.parameters(
        ({"names": ["dtc"]}, "`names` must be one of.*Did you mean `dct`"),
        ({"names": []}, "`names` must hold some of.*Received: none"),
        ({"blocks": np.ones((1, 16, 2))}, r"Received: shape \(1, 16, 2\)"),
        ({"blocks": np.ones((16, 2))}, "`blocks` must be"),
        ({"keep": 17}, "`keep` must be between 1 and 16"),
        (
            {"blocks": np.ones((2, 20, 1)), "names": ["hadamard"]},
            "power of two. Received: 20",
        ),
    )
    def test_mistake_is_named(self, options, message):
        given = {"blocks": np.ones((4, 16, 2)), "names": ["dct"], "keep": 4}
        with self.assertRaisesRegex(UserError, message):
            choose_basis(**{**given, **options})
