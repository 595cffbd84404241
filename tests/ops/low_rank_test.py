import keras
import numpy as np
from keras import ops

from tests.test_case import TestCase
from tfshrink import backend
from tfshrink.ops.low_rank import adapted_matmuls

UNITS = (5, 3)


def values():
    """x, and kernel, down and up of two members."""
    random = np.random.default_rng(0)
    shapes = [(7, 6), (6, 5), (6, 3), (2, 6), (2, 6), (2, 5), (2, 3)]
    return [random.normal(size=shape).astype("float32") for shape in shapes]


def plain(x, kernel, down, up):
    return ops.matmul(x, kernel + ops.matmul(ops.transpose(down), up))


def merged(x, *matrices):
    kernels, downs, ups = matrices[:2], matrices[2:4], matrices[4:]
    kernels = [
        kernel + ops.stop_gradient(ops.matmul(ops.transpose(down), up))
        for kernel, down, up in zip(kernels, downs, ups, strict=True)
    ]
    return adapted_matmuls(x, kernels, downs, ups)


class AdaptedMatmulsTest(TestCase):
    def differentiate(self, function):
        variables = [keras.Variable(v) for v in values()]

        def loss():
            outputs = function(*[1.0 * v for v in variables])
            total = sum(ops.sum(ops.sin(out)) for out in outputs)
            return total, outputs

        compiled = backend.Compiled(
            lambda: backend.value_and_gradients(loss, variables), variables
        )
        return compiled()

    def test_outputs_and_gradients_are_those_of_the_sum(self):
        found = self.differentiate(merged)
        expected = self.differentiate(
            lambda x, a, b, *factors: [
                plain(x, a, factors[0], factors[2]),
                plain(x, b, factors[1], factors[3]),
            ]
        )
        self.assertAllClose(found, expected, rtol=1e-4, atol=1e-5)

    def test_one_member(self):
        x, kernel, _, down, _, up, _ = values()
        (out,) = adapted_matmuls(x, [kernel], [down], [up])
        self.assertAllClose(out, x @ kernel, rtol=1e-5)
