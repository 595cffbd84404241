import math

import numpy as np

from tests.test_case import TestCase
from tfshrink.ops.sinusoids import sinusoids


class SinusoidsTest(TestCase):
    def test_values_match_the_papers_formula(self):
        positions = np.array([[0, 1, 7], [50, 100, 128]])
        found = sinusoids(positions, 8)
        self.assertEqual(tuple(found.shape), (2, 3, 8))
        for place, position in np.ndenumerate(positions):
            angles = [position / 10000 ** (2 * i / 8) for i in range(4)]
            want = [*map(math.sin, angles), *map(math.cos, angles)]
            self.assertAllClose(found[place], want, atol=1e-5)
