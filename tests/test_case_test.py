import keras
import numpy as np

from tests.test_case import gradients_of
from tests.test_case import ON_TENSORFLOW
from tests.test_case import TestCase


class Scale(keras.layers.Layer):
    """Multiplies by one weight a channel; `broken` drops it."""

    def __init__(self, broken=False, **kwargs):
        super().__init__(**kwargs)
        self.broken = broken

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],), name="scale")

    def call(self, inputs):
        return inputs if self.broken else inputs * self.scale

    def get_config(self):
        return {**super().get_config(), "broken": self.broken}


class Forgetful(Scale):
    """Leaves its argument out of the config."""

    def get_config(self):
        config = super().get_config()
        config.pop("broken")
        return config


class TestCaseTest(TestCase):
    def test_a_sound_layer_passes(self):
        self.run_layer_test(
            Scale,
            {},
            input_shape=(2, 3),
            expected_output_shape=(2, 3),
            expected_num_trainable_weights=1,
            expected_num_non_trainable_weights=0,
        )

    def test_keras_dense_passes(self):
        self.run_layer_test(
            keras.layers.Dense,
            {"units": 4},
            input_shape=(2, 3),
            expected_output_shape=(2, 4),
        )

    def test_a_weight_without_gradient_is_found(self):
        if not ON_TENSORFLOW:
            self.skipTest("JAX gives zeros where TensorFlow gives None")
        with self.assertRaises(AssertionError):
            self.run_layer_test(Scale, {"broken": True}, input_shape=(2, 3))

    def test_an_argument_missing_from_the_config_is_found(self):
        with self.assertRaises(AssertionError):
            self.run_layer_test(Forgetful, {"broken": True}, input_shape=(2, 3))

    def test_gradient_matches_the_formula(self):
        layer = Scale()
        x = np.array([[1.0, 2.0], [3.0, 4.0]], "float32")
        layer(x)
        layer.scale.assign([2.0, 0.5])
        # d/ds mean((x s)^2) = 2 s sum_b(x^2) / 4
        _, (gradient,) = gradients_of(layer, x)
        self.assertAllClose(gradient, [10.0, 5.0])

    def test_nests_are_compared_leaf_by_leaf(self):
        self.assertAllClose({"a": [1.0, 2.0]}, {"a": np.array([1.0, 2.0])})
        with self.assertRaises(AssertionError):
            self.assertAllClose((np.ones(2), np.ones(2)), (np.ones(2),) * 3)
        with self.assertRaises(AssertionError):
            self.assertAllClose([np.ones(2)], [np.zeros(2)])

    def test_temporary_folders_work_under_pytest(self):
        folder = self.create_tempdir()
        folder.create_file("x.txt", content="1")
        self.assertNotEmpty(folder.full_path)
