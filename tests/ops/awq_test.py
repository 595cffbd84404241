import numpy as np

from tests import oracles
from tests.test_case import TestCase
from tfshrink.ops import awq


def inputs(count=400, size=16, seed=0):
    """Inputs of which two channels are far larger than the others."""
    x = np.random.default_rng(seed).normal(size=(count, size))
    x[:, [3, 9]] *= 30.0
    return x


def rounded(weight, importance):
    """Rounding to nearest at 3 bits, one peak scale per output."""
    scale = np.abs(weight).max(0, keepdims=True) / 3
    return oracles.quantize_weight(weight, scale, 3)


class InputScaleTest(TestCase):
    def test_scale_is_the_magnitudes_power_with_inverse_extremes(self):
        scale = awq.input_scale(np.array([1.0, 4.0, 16.0]), 0.5)
        self.assertAllClose(scale, [0.5, 1.0, 2.0])

    def test_no_exponent_is_no_scale(self):
        self.assertAllEqual(awq.input_scale(np.array([1.0, 9.0]), 0.0), [1, 1])

    def test_a_silent_channel_stays_finite(self):
        scale = awq.input_scale(np.array([0.0, 2.0]), 0.9)
        self.assertTrue(np.isfinite(1 / scale).all())


class SearchTest(TestCase):
    def test_error_matches_the_outputs_of_the_inputs_themselves(self):
        x = inputs()
        difference = np.random.default_rng(1).normal(size=(16, 4))
        expected = np.sum((x @ difference) ** 2) / len(x)
        self.assertAllClose(
            awq.output_error(difference, x.T @ x / len(x)), expected, rtol=1e-9
        )

    def test_search_finds_what_trying_every_exponent_finds(self):
        x = inputs()
        weights = list(np.random.default_rng(2).normal(size=(2, 16, 6)))
        magnitude = np.abs(x).mean(0)
        errors = []
        for alpha in awq.GRID:
            s = awq.input_scale(magnitude, alpha).astype("float64")
            parts = [
                (x / s) @ rounded(w * s[:, None], None) - x @ w for w in weights
            ]
            errors.append(sum(np.sum(p**2) for p in parts) / len(x))
        scale, alpha, error = awq.best_input_scale(
            weights, x.T @ x / len(x), magnitude, rounded
        )
        self.assertEqual(alpha, awq.GRID[int(np.argmin(errors))])
        self.assertAllClose(error, min(errors), rtol=1e-4)
        self.assertAllClose(scale, awq.input_scale(magnitude, alpha))
        self.assertLess(error, 0.7 * errors[0])

    def test_round_weight_is_told_the_power_of_its_inputs(self):
        x = inputs()
        power = (x**2).mean(0)
        seen = []

        def spy(weight, importance):
            seen.append(importance)
            return weight

        awq.best_input_scale(
            [np.ones((16, 2))], x.T @ x / len(x), np.sqrt(power), spy
        )
        self.assertAllClose(seen[0], power)
        last = awq.input_scale(np.sqrt(power), awq.GRID[-1])
        self.assertAllClose(seen[-1], power / last**2, rtol=1e-5)
