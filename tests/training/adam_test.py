import keras
import numpy as np

from tests.test_case import TestCase
from tfshrink import backend
from tfshrink.training.adam import FusedAdam


class FusedAdamTest(TestCase):
    def test_steps_are_those_of_keras(self):
        random = np.random.default_rng(0)
        start = random.normal(size=(3, 4)).astype("float32")
        gradients = random.normal(size=(5, 3, 4)).astype("float32")
        ends = []
        for kind in (keras.optimizers.Adam, FusedAdam):
            variable = keras.Variable(start)
            optimizer = kind(0.1, beta_2=0.99)
            optimizer.build([variable])
            step = backend.Compiled(
                lambda rate, gradient, o=optimizer, v=variable: (
                    setattr(o, "learning_rate", rate),
                    o.apply([gradient], [v]),
                )[1],
                [variable, *optimizer.variables],
            )
            for index, gradient in enumerate(gradients):
                step(np.float32(0.1 / (index + 1)), gradient)
            ends.append(
                [np.asarray(v) for v in (variable, *optimizer.variables)]
            )
        self.assertAllClose(*ends, rtol=1e-5)
        self.assertNotAllClose(ends[0][0], start, atol=0.05)
