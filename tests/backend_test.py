import os

import keras
import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.test_case import ON_TENSORFLOW
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink import backend
from tfshrink.fusion import fuse


def scaled(x, factor):
    return ops.tanh(x) * factor


class FuseTest(TestCase):
    def test_fused_equals_plain(self):
        x = ops.convert_to_tensor(np.linspace(-2, 2, 12, dtype="float32"))
        fused = fuse(scaled)
        self.assertIs(fused, fuse(scaled))
        for shape in ((12,), (3, 4), (2, 6)):
            y = ops.reshape(x, shape)
            self.assertAllClose(fused(y, 3.0), scaled(y, 3.0))

    def test_variables_are_arguments_and_no_captures(self):
        one = keras.Variable(np.ones(3, "float32"))
        two = keras.Variable(np.full(3, 2.0, "float32"))
        fused = fuse(scaled)
        for variable in (one, two):
            expected = np.tanh(to_numpy(variable)) * 2
            self.assertAllClose(fused(variable, 2.0), expected)
        one.assign([0.5, 0.5, 0.5])
        self.assertAllClose(fused(one, 2.0), np.tanh(0.5) * 2 * np.ones(3))

    def test_gradient_passes(self):
        variable = keras.Variable(np.array([0.3, -0.8], "float32"))
        _, _, (gradient,) = backend.value_and_gradients(
            lambda: (
                ops.sum(fuse(scaled)(1.0 * variable, 3.0)),
                ops.zeros(()),
            ),
            [variable],
        )
        self.assertAllClose(gradient, 3 / np.cosh([0.3, -0.8]) ** 2, rtol=1e-5)

    def test_gradient_in_every_argument(self):
        arguments = [
            keras.Variable(np.array(x, "float32"))
            for x in ([0.3, -0.8], [2.0, 3.0])
        ]

        def gradients(function):
            compiled = backend.Compiled(
                lambda: backend.value_and_gradients(
                    lambda: (
                        ops.sum(function(*[1.0 * v for v in arguments])),
                        ops.zeros(()),
                    ),
                    arguments,
                ),
                arguments,
            )
            return compiled()

        self.assertAllClose(
            gradients(fuse(scaled)), gradients(scaled), rtol=1e-5
        )


class CompiledTest(TestCase):
    def test_backend_is_the_one_asked_for(self):
        asked = os.environ["KERAS_BACKEND"]
        self.assertEqual(keras.backend.backend(), asked)
        self.assertEqual(backend.is_tensorflow(), ON_TENSORFLOW)

    def test_values_never_retrace_shapes_do(self):
        compiled = backend.Compiled(lambda x, factor: x * factor)
        for factor in (1.0, 2.0, 3.0):
            out = compiled(np.ones(3, "float32"), factor)
            self.assertAllClose(out, np.full(3, factor))
        self.assertEqual(compiled.traces, 1)
        compiled(np.ones(4, "float32"), 1.0)
        self.assertEqual(compiled.traces, 2)

    def test_nests_and_absent_arguments_pass_through(self):
        compiled = backend.Compiled(
            lambda pair, absent: {"sum": pair[0] + pair[1], "is": absent}
        )
        out = compiled((np.float32(1), np.float32(2)), None)
        self.assertAllClose(out["sum"], 3.0)
        self.assertIsNone(out["is"])

    def test_assignments_are_kept(self):
        total = keras.Variable(np.zeros(2, "float32"))
        other = keras.Variable(np.full(2, 7.0, "float32"))

        def add(x):
            total.assign(total + x)
            return ops.sum(total)

        compiled = backend.Compiled(add, [other, total])
        for step in range(1, 4):
            out = compiled(np.array([1.0, 2.0], "float32"))
            self.assertAllClose(out, 3.0 * step)
        self.assertAllClose(total, [3.0, 6.0])
        self.assertAllClose(other, [7.0, 7.0])

    def test_each_signature_remembers_what_it_writes(self):
        first = keras.Variable(np.float32(0))
        second = keras.Variable(np.float32(0))

        def add(x):
            (first if len(x.shape) else second).assign_add(1.0)
            return ops.sum(x)

        compiled = backend.Compiled(add, [first, second])
        vector, scalar = np.ones(2, "float32"), np.float32(1)
        for x in (vector, scalar, vector, vector, scalar):
            compiled(x)
        self.assertAllClose([first, second], [3.0, 2.0])
        self.assertEqual(compiled.traces, 2)


class RowsTest(TestCase):
    @parameterized.product(
        dtype=("float32", "bfloat16"),
        rows=((1,), (1, 3), (2, 4), (3, 5)),
        xla=(False, True),
    )
    def test_a_product_is_the_same_row_by_row(self, dtype, rows, xla):
        random = np.random.default_rng(0)
        x = random.integers(-4, 5, (*rows, 6)).astype("float32")
        kernel = random.integers(-4, 5, (7, 6)).astype("float32")

        def product(x, kernel):
            x, kernel = (ops.cast(own, dtype) for own in (x, kernel))
            return ops.cast(backend.multiply_rows(x, kernel), "float32")

        out = backend.Compiled(product, xla=xla)(x, kernel)
        self.assertAllClose(out, x @ kernel.T)

    @parameterized.parameters(False, True)
    def test_what_a_loop_keeps_is_the_same_in_every_round(self, xla):
        weights = {"a": np.full(3, 2.0, "float32"), "b": [np.ones(3)]}

        def run(weights):
            def step(index, x):
                own = backend.kept_in_loop(weights, index)
                return index + 1, own["a"] * x + ops.cast(own["b"][0], x.dtype)

            start = ops.zeros((), "int32"), ops.zeros((3,), "float32")
            return ops.while_loop(lambda index, _: index < 4, step, start)[1]

        out = backend.Compiled(run, xla=xla)(weights)
        self.assertAllClose(out, np.full(3, 15.0))

    def test_only_one_program_is_xlas(self):
        found = []

        def tell(x):
            found.append(backend.by_xla())
            return x

        for xla in (True, False):
            backend.Compiled(tell, xla=xla)(np.float32(1))
        always = not ON_TENSORFLOW or not backend.on_cpu()
        self.assertEqual(found, [True, always])
        self.assertEqual(backend.by_xla(), always)


class ValueAndGradientsTest(TestCase):
    def test_gradients_match_the_formula(self):
        a = keras.Variable(np.array([1.0, 2.0], "float32"))
        b = keras.Variable(np.array([3.0, -1.0], "float32"))
        idle = keras.Variable(np.ones((2, 2), "float32"))
        loss, extra, gradients = backend.value_and_gradients(
            lambda: (ops.sum(a * a * b), {"b": 2.0 * b}), [a, b, idle]
        )
        self.assertAllClose(loss, -1.0)
        self.assertAllClose(extra["b"], [6.0, -2.0])
        self.assertAllClose(gradients[0], [6.0, -4.0])
        self.assertAllClose(gradients[1], [1.0, 4.0])
        self.assertAllEqual(gradients[2], np.zeros((2, 2)))

    def test_rows_that_were_looked_up_get_dense_gradients(self):
        table = keras.Variable(np.ones((4, 2), "float32"))
        rows = np.array([1, 3, 3])
        _, _, (gradient,) = backend.value_and_gradients(
            lambda: (ops.sum(ops.take(table, rows, axis=0)), ops.zeros(())),
            [table],
        )
        self.assertAllClose(gradient, [[0, 0], [1, 1], [0, 0], [2, 2]])

    def test_a_compiled_step_descends(self):
        weight = keras.Variable(np.array([4.0, -3.0], "float32"))

        def step(rate):
            loss, _, (gradient,) = backend.value_and_gradients(
                lambda: (ops.sum(weight * weight), ops.zeros(())), [weight]
            )
            weight.assign(weight - rate * gradient)
            return loss

        compiled = backend.Compiled(step, [weight])
        losses = [float(compiled(rate)) for rate in (0.1, 0.2, 0.25)]
        # w <- w (1 - 2 rate)
        self.assertAllClose(losses, [25.0, 25 * 0.64, 25 * 0.64 * 0.36])
        self.assertAllClose(weight, np.array([4, -3]) * 0.8 * 0.6 * 0.5)
        self.assertEqual(compiled.traces, 1)

    def test_rows_that_were_looked_up_add_to_their_places(self):
        table = keras.Variable(np.ones((4, 2), "float32"))
        total = keras.Variable(np.full((4, 2), 10.0, "float32"))

        def step(rows, share):
            _, _, (gradient,) = backend.value_and_gradients(
                lambda: (ops.sum(3 * ops.take(table, rows, 0)), ops.zeros(())),
                [table],
                dense=False,
            )
            backend.add_gradient(total, gradient, share)

        compiled = backend.Compiled(step, [table, total])
        compiled(np.array([1, 3, 3], "int32"), np.float32(0.5))
        expected = np.array([10, 11.5, 10, 13.0])
        self.assertAllClose(total, np.stack([expected] * 2, axis=1))
