import numpy as np
from absl.testing import parameterized

from tests import oracles
from tests.test_case import TestCase
from tfshrink.ops.gptq import gptq
from tfshrink.ops.gptq import inverse_factor


def problem(inputs=24, outputs=5, groups=1, bits=4, seed=0):
    """A weight, correlated inputs' Hessian and peak scales, float64."""
    random = np.random.default_rng(seed)
    weight = random.normal(size=(inputs, outputs))
    x = random.normal(size=(300, inputs)) @ random.normal(size=(inputs, inputs))
    grouped = weight.reshape(groups, -1, outputs)
    scale = np.abs(grouped).max(1) / oracles.levels(bits)[-1]
    return weight, x.T @ x / len(x), scale


def greedy(weight, hessian, scale, bits):
    """GPTQ as its equations say: one input, then an inverse without it.

    Frantar et al., equations 2 and 3: after input q is rounded, the error
    over [H^-1]_qq moves the others along row q of H^-1, and q leaves H^-1
    by one step of Gaussian elimination.
    """
    weight = np.array(weight, "float64")
    inverse = np.linalg.inv(hessian)
    offset = 0.5 if bits == 2 else 0.0
    codes = np.empty(weight.shape)
    size = len(weight) // len(scale)
    for q in range(len(weight)):
        step = scale[q // size]
        level = oracles.nearest_level(weight[q] / step, bits)
        codes[q] = level - offset
        error = (weight[q] - level * step) / inverse[q, q]
        weight -= np.outer(inverse[q], error)
        inverse -= np.outer(inverse[:, q], inverse[q]) / inverse[q, q]
        inverse[q, q] = 1.0  # used up
    return codes


def damped(hessian):
    return hessian + 0.01 * np.mean(np.diag(hessian)) * np.eye(len(hessian))


def output_error(weight, hessian, scale, codes, bits):
    """Mean squared error of x W, from the second moment of x."""
    offset = 0.5 if bits == 2 else 0.0
    steps = np.repeat(scale, len(weight) // len(scale), axis=0)
    difference = weight - (codes + offset) * steps
    return np.trace(difference.T @ hessian @ difference)


class GptqTest(TestCase):
    @parameterized.product(bits=[2, 3, 4, 8], groups=[1, 3])
    def test_codes_match_the_greedy_algorithm_in_float64(self, bits, groups):
        weight, hessian, scale = problem(groups=groups, bits=bits)
        codes = gptq(weight, inverse_factor(hessian), scale, bits)
        expected = greedy(weight, damped(hessian), scale, bits)
        self.assertEqual(codes.dtype, np.int8)
        self.assertAllEqual(codes, expected)

    def test_blocks_of_updates_match_the_greedy_algorithm(self):
        # More inputs than `BLOCK`: updates are applied in two pieces.
        weight, hessian, scale = problem(inputs=96, outputs=3, seed=1)
        codes = gptq(weight, inverse_factor(hessian), scale, 4)
        expected = greedy(weight, damped(hessian), scale, 4)
        # A value next to a rounding edge may fall to either side.
        self.assertGreater(np.mean(codes == expected), 0.97)
        ours = output_error(weight, hessian, scale, codes, 4)
        theirs = output_error(weight, hessian, scale, expected, 4)
        self.assertAllClose(ours, theirs, rtol=0.05)

    @parameterized.parameters(2, 3, 4)
    def test_error_is_below_rounding(self, bits):
        weight, hessian, scale = problem(inputs=64, bits=bits, groups=2)
        codes = gptq(weight, inverse_factor(hessian), scale, bits)
        steps = np.repeat(scale, 32, axis=0)
        offset = 0.5 if bits == 2 else 0.0
        rounded = oracles.nearest_level(weight / steps, bits) - offset
        ours = output_error(weight, hessian, scale, codes, bits)
        nearest = output_error(weight, hessian, scale, rounded, bits)
        self.assertLess(ours, 0.7 * nearest)

    def test_uncorrelated_inputs_leave_rounding_to_nearest(self):
        weight, _, scale = problem()
        codes = gptq(weight, inverse_factor(np.eye(24)), scale, 4)
        self.assertAllEqual(codes, oracles.nearest_level(weight / scale, 4))


class InverseFactorTest(TestCase):
    def test_factor_matches_numpys_inverse(self):
        _, hessian, _ = problem()
        factor = inverse_factor(hessian)
        self.assertAllEqual(factor, np.triu(factor))
        inverse = np.linalg.inv(damped(hessian))
        self.assertAllClose(
            factor.T @ factor, inverse, rtol=1e-3, atol=1e-3 * inverse.max()
        )

    def test_inputs_that_never_fire_do_not_break_it(self):
        factor = inverse_factor(np.diag([1.0, 0.0, 2.0]))
        self.assertTrue(np.isfinite(factor).all())
