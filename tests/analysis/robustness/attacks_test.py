import types

import numpy as np

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.analysis.robustness.attacks import Attacker
from tfshrink.analysis.robustness.attacks import fgsm
from tfshrink.analysis.robustness.attacks import pgd
from tfshrink.analysis.robustness.condition import Condition
from tfshrink.analysis.robustness.settings import RobustnessSettings

TARGET = np.array([[[0.3, -0.02, 0.0, 5.0]]], "float32")
ZERO = np.zeros_like(TARGET)


def towards(offset, step):
    """The gradient of -|x - target|^2 / 2: uphill is where the target is."""
    return TARGET - to_numpy(offset)


class AttacksTest(TestCase):
    def test_fgsm_is_the_corner(self):
        found = fgsm(towards, ZERO, radius=0.1, length=9.0, steps=9)
        self.assertAllClose(found, [[[0.1, -0.1, 0.0, 0.1]]])

    def test_pgd_by_hand(self):
        own = {"radius": 0.1, "length": 0.04}
        found = [pgd(towards, ZERO, steps=n, **own) for n in (1, 2, 3)]
        # The second number goes past its target, and back.
        self.assertAllClose(found[0], [[[0.04, -0.04, 0.0, 0.04]]])
        self.assertAllClose(found[1], [[[0.08, 0.0, 0.0, 0.08]]])
        self.assertAllClose(found[2], [[[0.1, -0.04, 0.0, 0.1]]])

    def test_pgd_counts_its_steps(self):
        seen = []

        def slope(offset, step):
            seen.append(step)
            return offset

        pgd(slope, ZERO, radius=1.0, length=0.1, steps=3)
        self.assertEqual(seen, [0, 1, 2])

    def test_attacker_adds_up_the_gradients_of_its_plans(self):
        slopes = {"a": np.array([[[1.0, -1.0, 2.0]]], "float32")}
        slopes["b"] = np.array([[[1.0, 3.0, -3.0]]], "float32")
        forward = types.SimpleNamespace(
            slope=lambda plan, tokens, mask, offset: slopes[plan],
            no_offset=lambda tokens: np.zeros((1, 1, 3), "float32"),
        )
        batch = types.SimpleNamespace(tokens=None, mask=None)
        attacker = Attacker(forward, RobustnessSettings(), 2.0)
        condition = Condition("fgsm", 0.1)
        found = attacker(condition, batch, lambda step: ["a", "b"])
        self.assertAllClose(found, [[[0.2, 0.2, -0.2]]])
        found = attacker(condition, batch, lambda step: ["a"])
        self.assertAllClose(found, [[[0.2, -0.2, 0.2]]])
