import keras
import numpy as np
from absl.testing import parameterized
from keras import ops

from tests import oracles
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink import backend
from tfshrink.ops import head_loss as module
from tfshrink.ops.head_loss import distributions
from tfshrink.ops.head_loss import head_loss

WIDTH, VOCABULARY = 6, 11


def random_inputs(count, teachers=0):
    random = np.random.default_rng(count)

    def pair():
        hidden = random.normal(size=(count, WIDTH)).astype("float32")
        kernel = random.normal(size=(VOCABULARY, WIDTH)).astype("float32")
        return hidden, kernel

    hidden, kernel = pair()
    targets = random.integers(0, VOCABULARY, count).astype("int32")
    mask = (random.random(count) < 0.7).astype("float32")
    mask[0] = 1.0
    return hidden, kernel, targets, mask, [pair() for _ in range(teachers)]


def numpy_loss(hidden, kernel, targets, mask, weight, teachers):
    """Loss and cross-entropy in nats per counted token, in float64."""
    hidden = np.asarray(hidden, "float64")
    p = oracles.softmax(hidden @ kernel.T)
    entropy = -np.log(p[np.arange(len(targets)), targets])
    loss = weight * entropy
    for state, head in teachers:
        t = oracles.softmax(state.astype("float64") @ head.T)
        loss = loss + (t * np.log(t / p)).sum(-1) / len(teachers)
    return (loss * mask).sum() / mask.sum(), (entropy * mask).sum() / mask.sum()


def differentiate(function, hidden):
    variable = keras.Variable(hidden)
    loss, auxiliary, (gradient,) = backend.value_and_gradients(
        lambda: function(1.0 * variable), [variable]
    )
    return to_numpy(loss), to_numpy(auxiliary), to_numpy(gradient)


class HeadLossTest(TestCase):
    @parameterized.product(
        case=((5, 1.0, 0), (5, 0.0, 1), (9, 0.3, 2), (7, 0.5, 3)),
        size=(4, 256),
    )
    def test_loss_and_gradient_match_numpy(self, case, size):
        count, weight, number = case
        self.enter_context_of_slices(size)
        hidden, kernel, targets, mask, teachers = random_inputs(count, number)
        loss, entropy, gradient = differentiate(
            lambda h: head_loss(
                h,
                kernel,
                targets,
                mask,
                cross_entropy=weight,
                teachers=teachers,
            ),
            hidden,
        )

        def value(h):
            return numpy_loss(h, kernel, targets, mask, weight, teachers)

        self.assertAllClose((loss, entropy), value(hidden), rtol=1e-5)
        for seed in range(3):
            way = np.random.default_rng(seed).normal(size=hidden.shape)
            slope = oracles.central_difference(
                lambda h: value(h)[0], hidden.astype("float64"), way
            )
            self.assertAllClose((gradient * way).sum(), slope, atol=1e-4)
        self.assertAllEqual(gradient[mask == 0], 0 * gradient[mask == 0])

    def enter_context_of_slices(self, size):
        original = module.SLICE
        module.SLICE = size
        self.addCleanup(setattr, module, "SLICE", original)

    def test_gradient_matches_plain_autodiff_beyond_a_slice(self):
        hidden, kernel, targets, mask, teachers = random_inputs(300, 1)

        def plain(h):
            log_p = ops.log_softmax(ops.matmul(h, kernel.T), axis=-1)
            state, head = teachers[0]
            t = ops.softmax(ops.matmul(state, head.T), axis=-1)
            gold = ops.one_hot(targets, VOCABULARY)
            terms = -0.5 * ops.sum(gold * log_p, axis=-1)
            terms += ops.sum(t * (ops.log(t) - log_p), axis=-1)
            return ops.sum(terms * mask) / ops.sum(mask), ops.zeros(())

        def sliced(h):
            return head_loss(
                h, kernel, targets, mask, cross_entropy=0.5, teachers=teachers
            )

        expected, _, slope = differentiate(plain, hidden)
        loss, _, gradient = differentiate(sliced, hidden)
        self.assertAllClose(loss, expected, rtol=1e-5)
        self.assertAllClose(gradient, slope, rtol=1e-4, atol=1e-7)
        # The same where it is one part of a larger loss.
        _, _, tripled = differentiate(
            lambda h: (3.0 * sliced(h)[0], ops.zeros(())), hidden
        )
        self.assertAllClose(tripled, 3 * slope, rtol=1e-4, atol=1e-7)

    def test_compiled_step_gives_the_same(self):
        hidden, kernel, targets, mask, teachers = random_inputs(300, 2)
        variable = keras.Variable(hidden)

        def step(kernel, targets, mask, weight):
            return backend.value_and_gradients(
                lambda: head_loss(
                    ops.convert_to_tensor(variable),
                    kernel,
                    targets,
                    mask,
                    cross_entropy=weight,
                    teachers=teachers,
                ),
                [variable],
            )

        compiled = backend.Compiled(step, [variable])
        for weight in (0.0, 0.5, 1.0):
            loss, entropy, (gradient,) = compiled(kernel, targets, mask, weight)
            expected = numpy_loss(
                hidden, kernel, targets, mask, weight, teachers
            )
            self.assertAllClose((loss, entropy), expected, rtol=1e-5)
            self.assertEqual(tuple(gradient.shape), hidden.shape)
        self.assertEqual(compiled.traces, 1)

    @parameterized.parameters(4, 256)
    def test_kept_distributions_teach_the_same(self, size):
        self.enter_context_of_slices(size)
        hidden, kernel, targets, mask, teachers = random_inputs(9, 2)
        known = [distributions(*map(ops.convert_to_tensor, teachers[0]))]

        def loss(teachers, known):
            return differentiate(
                lambda h: head_loss(
                    h,
                    kernel,
                    targets,
                    mask,
                    cross_entropy=0.5,
                    teachers=teachers,
                    known=known,
                ),
                hidden,
            )

        self.assertAllClose(
            loss(teachers[1:], known), loss(teachers, []), rtol=1e-4, atol=1e-6
        )

    def test_a_bfloat16_model_is_no_distance_from_itself(self):
        random = np.random.default_rng(0)
        hidden = ops.convert_to_tensor(random.normal(size=(8, 64)), "bfloat16")
        kernel = ops.convert_to_tensor(random.normal(size=(99, 64)), "bfloat16")
        loss, _ = head_loss(
            hidden,
            kernel,
            np.zeros(8, "int32"),
            np.ones(8, "float32"),
            cross_entropy=0.0,
            known=[distributions(hidden, kernel)],
        )
        self.assertAllClose(loss, 0.0, atol=1e-5)

    def test_head_and_teachers_get_no_gradient(self):
        hidden, kernel, targets, mask, (teacher,) = random_inputs(5, 1)
        variables = [keras.Variable(x) for x in (kernel, *teacher)]

        def loss():
            head, state, other = map(ops.convert_to_tensor, variables)
            return head_loss(
                ops.convert_to_tensor(hidden),
                head,
                targets,
                mask,
                cross_entropy=1.0,
                teachers=[(state, other)],
            )

        _, _, found = backend.value_and_gradients(loss, variables)
        for gradient in map(to_numpy, found):
            self.assertAllEqual(gradient, 0 * gradient)

    def test_nothing_counted_is_zero_and_not_nan(self):
        hidden, kernel, targets, mask, _ = random_inputs(5)
        loss, entropy, gradient = differentiate(
            lambda h: head_loss(
                h, kernel, targets, 0 * mask, cross_entropy=1.0
            ),
            hidden,
        )
        self.assertAllEqual((loss, entropy), (0.0, 0.0))
        self.assertAllEqual(gradient, 0 * hidden)

    def test_bfloat16_is_near_float32(self):
        hidden, kernel, targets, mask, _ = random_inputs(9)
        low = [ops.cast(x, "bfloat16") for x in (hidden, kernel)]
        loss, _ = head_loss(*low, targets, mask, cross_entropy=1.0)
        expected, _ = numpy_loss(hidden, kernel, targets, mask, 1.0, [])
        self.assertAllClose(loss, expected, rtol=0.03)
