import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.ops import prune


def weight(rows=64, columns=48, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, columns)).astype("float32")


class PruneTest(TestCase):
    @parameterized.parameters(0.1, 0.5, 0.93)
    def test_threshold_of_a_small_weight_is_its_quantile(self, level):
        own = weight()
        ordered = np.sort(np.abs(own).ravel())
        found = prune.magnitude_threshold(own, level)
        self.assertAllEqual(found, ordered[int(level * own.size)])

    @parameterized.parameters(((1024, 1024),), ((576, 1536),), ((49, 4096),))
    def test_threshold_of_a_large_weight_is_near_its_quantile(self, shape):
        own = weight(*shape)
        # Magnitudes that depend on row and column show a lopsided sample.
        own *= np.linspace(0.1, 1.0, shape[0])[:, None]
        own *= np.tile([0.2, 1.0], shape[1] // 2)
        for level in (0.2, 0.5, 0.8):
            threshold = to_numpy(prune.magnitude_threshold(own, level))
            self.assertAllClose(
                np.mean(np.abs(own) < threshold), level, atol=0.012, rtol=0
            )

    def test_level_0_keeps_all(self):
        own = weight()
        own[3] = 0.0
        self.assertAllEqual(prune.prune_mask(own, 0), np.ones(own.shape))

    def test_mask_keeps_the_largest(self):
        own = weight()
        mask = to_numpy(prune.prune_mask(own, 3000))
        size = np.abs(own)
        self.assertAllClose(mask.mean(), 0.7, atol=1e-3)
        self.assertGreater(size[mask == 1].min(), size[mask == 0].max())

    def test_two_of_four_matches_a_sort_of_each_four(self):
        own = weight()
        own[:8] = np.round(own[:8])  # equals among them
        wanted = np.zeros(own.shape)
        for column in range(own.shape[1]):
            for start in range(0, len(own), 4):
                four = np.abs(own[start : start + 4, column])
                kept = np.argsort(-four, kind="stable")[:2]
                wanted[start + kept, column] = 1
        self.assertAllEqual(prune.prune_mask(own, prune.PATTERN), wanted)

    def test_inputs_that_do_not_come_in_fours_go_by_magnitude(self):
        own = weight(rows=6)
        self.assertAllClose(
            to_numpy(prune.prune_mask(own, 5000)).mean(), 0.5, atol=0.01
        )
