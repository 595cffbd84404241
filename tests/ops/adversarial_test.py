import itertools

import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tests.test_case import to_tensor
from tfshrink.ops.adversarial import projected_step
from tfshrink.ops.adversarial import sign_step


class SignStepTest(TestCase):
    def test_by_hand(self):
        gradient = to_tensor(np.array([[3.0, -0.1], [0.0, -7.0]], "float32"))
        self.assertAllClose(
            sign_step(gradient, 0.5), [[0.5, -0.5], [0.0, -0.5]]
        )

    def test_no_corner_of_the_ball_raises_a_linear_loss_more(self):
        gradient = np.random.default_rng(0).normal(size=6).astype("float32")
        corners = 0.3 * np.array(list(itertools.product((-1, 1), repeat=6)))
        own = to_numpy(sign_step(to_tensor(gradient), 0.3)) @ gradient
        self.assertAllClose(own, (corners @ gradient).max(), rtol=1e-5)


class ProjectedStepTest(TestCase):
    @parameterized.parameters((0.1, 0.25), (0.4, 0.25), (0.0, 0.25), (0.4, 0.0))
    def test_matches_numpy(self, length, radius):
        random = np.random.default_rng(1)
        offset = random.uniform(-radius, radius, (3, 4)).astype("float32")
        gradient = random.normal(size=(3, 4)).astype("float32")
        expected = np.empty((3, 4))
        for place in np.ndindex(3, 4):
            moved = offset[place] + length * np.sign(gradient[place])
            expected[place] = max(-radius, min(radius, moved))
        found = projected_step(
            to_tensor(offset), to_tensor(gradient), length, radius
        )
        self.assertAllClose(found, expected)
