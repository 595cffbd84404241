"""The one base class of all tests."""

import json
import os
from unittest import mock

import numpy as np
from absl.testing import parameterized

ON_TENSORFLOW = os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow"

if ON_TENSORFLOW:
    import tensorflow as tf

    _BASES = (tf.test.TestCase, parameterized.TestCase)
else:
    _BASES = (parameterized.TestCase,)


class TestCase(*_BASES):
    """Adds array assertions and `run_layer_test` on either backend.

    Attributes:
        decodes_by_xla: Whether XLA may decode one sequence on a CPU. It takes
            seconds and 25 MB a `Generator`, for the same text: tests of that
            are `models/generation_test.py` and `models/exit_walk_test.py`.
    """

    decodes_by_xla = False

    # `tf.test.TestCase` offers a session under a name that looks like a test.
    test_session = None

    def setUp(self):
        super().setUp()
        import keras

        self.addCleanup(
            keras.config.set_dtype_policy, keras.config.dtype_policy()
        )
        keras.utils.set_random_seed(0)
        if not self.decodes_by_xla:
            from tfshrink.models import generation

            never = mock.patch.object(generation, "SINGLE", 0)
            self.enterContext(never)

    def assertAllClose(self, a, b, rtol=1e-6, atol=1e-6, msg=None):
        """Asserts that arrays, or nests of them, agree within tolerance."""
        self._compare(
            a,
            b,
            lambda x, y: np.testing.assert_allclose(
                x, y, rtol=rtol, atol=atol, err_msg=msg or ""
            ),
        )

    def assertAllEqual(self, a, b, msg=None):
        """Asserts that arrays, or nests of them, are the same."""
        self._compare(
            a,
            b,
            lambda x, y: np.testing.assert_array_equal(
                x, y, err_msg=msg or "", strict=False
            ),
        )

    def assertNotAllClose(self, a, b, rtol=1e-6, atol=1e-6, msg=None):
        """Asserts that two arrays differ somewhere by more than tolerance."""
        a, b = to_numpy(a), to_numpy(b)
        if a.shape == b.shape and np.allclose(a, b, rtol=rtol, atol=atol):
            self.fail(msg or f"Arrays agree everywhere: {a}")

    def _compare(self, a, b, check):
        if isinstance(b, dict):
            self.assertCountEqual(a.keys(), b.keys())
            for key in b:
                self._compare(a[key], b[key], check)
        elif _is_nest(a) and _is_nest(b):
            self.assertEqual(len(a), len(b))
            for x, y in zip(a, b, strict=True):
                self._compare(x, y, check)
        else:
            check(to_numpy(a), to_numpy(b))

    def run_layer_test(
        self,
        cls,
        init_kwargs,
        input_shape=None,
        inputs=None,
        call_kwargs=None,
        expected_output_shape=None,
        expected_num_trainable_weights=None,
        expected_num_non_trainable_weights=None,
        custom_objects=None,
        run_training=True,
        run_mixed_precision=True,
        run_saved_model=True,
    ):
        """Runs what every layer must survive.

        Builds and calls the layer; checks shapes and weight counts; sends
        its config through JSON and back and compares outputs under equal
        weights; calls it under the `mixed_bfloat16` policy; takes one
        training step in which every trainable weight gets a gradient; and
        on TensorFlow writes a SavedModel and reads it back.

        Args:
            cls: The layer's class.
            init_kwargs: Arguments of its constructor.
            input_shape: Shape of random float inputs, batch included; or
            inputs: The first call argument itself.
            call_kwargs: Further call arguments.
            expected_output_shape: Shape (or nest of shapes) of the output.
            expected_num_trainable_weights: Count, or `None` to not check.
            expected_num_non_trainable_weights: The same; seeds of random
                number generators do not count.
            custom_objects: Passed to `from_config`.
            run_training: `False` for a layer without trainable weights.
            run_mixed_precision: `False` for a layer with a fixed dtype.
            run_saved_model: `False` for a layer that cannot be traced alone.
        """
        if inputs is None:
            inputs = np.random.RandomState(0).normal(size=input_shape)
            inputs = inputs.astype("float32")
        inputs = to_tensor(inputs)
        call_kwargs = call_kwargs or {}

        layer = cls(**init_kwargs)
        outputs = layer(inputs, **call_kwargs)
        if expected_output_shape is not None:
            self.assertEqual(shapes_of(outputs), expected_output_shape)
        self._check_weight_counts(
            layer,
            expected_num_trainable_weights,
            expected_num_non_trainable_weights,
        )
        self._check_serialization(
            layer, inputs, call_kwargs, outputs, custom_objects
        )
        if run_mixed_precision:
            self._check_mixed_precision(cls, init_kwargs, inputs, call_kwargs)
        if run_training and layer.trainable_weights:
            self._check_training_step(layer, inputs, call_kwargs)
        if run_saved_model and ON_TENSORFLOW:
            self._check_saved_model(layer, inputs, call_kwargs)

    def _check_weight_counts(self, layer, trainable, non_trainable):
        if trainable is not None:
            self.assertLen(layer.trainable_weights, trainable)
        if non_trainable is not None:
            self.assertLen(layer.non_trainable_weights, non_trainable)

    def _check_serialization(
        self, layer, inputs, call_kwargs, outputs, custom_objects
    ):
        config = layer.get_config()
        # A config that is not JSON cannot be saved with a model.
        text = json.dumps(config, default=_keras_object)
        if custom_objects:
            import keras

            with keras.saving.custom_object_scope(custom_objects):
                twin = type(layer).from_config(config)
        else:
            twin = type(layer).from_config(config)
        self.assertEqual(
            json.dumps(twin.get_config(), default=_keras_object), text
        )
        twin(inputs, **call_kwargs)
        self.assertEqual(
            [w.path.split("/")[1:] for w in twin.weights],
            [w.path.split("/")[1:] for w in layer.weights],
        )
        twin.set_weights(layer.get_weights())
        self.assertAllClose(twin(inputs, **call_kwargs), outputs)

    def _check_mixed_precision(self, cls, init_kwargs, inputs, call_kwargs):
        layer = cls(**{**init_kwargs, "dtype": "mixed_bfloat16"})
        for output in leaves(layer(inputs, **call_kwargs)):
            output = to_numpy(output)
            self.assertTrue(np.isfinite(output.astype("float32")).all())
        for weight in layer.trainable_weights:
            self.assertEqual(weight.dtype, "float32", weight.path)

    def _check_training_step(self, layer, inputs, call_kwargs):
        values, gradients = gradients_of(layer, inputs, call_kwargs)
        for weight, value, gradient in zip(
            layer.trainable_weights, values, gradients, strict=True
        ):
            self.assertIsNotNone(gradient, f"no gradient: {weight.path}")
            self.assertEqual(gradient.shape, value.shape, weight.path)
            self.assertTrue(np.isfinite(gradient).all(), weight.path)
            weight.assign(value - 1e-3 * gradient)
        for output in leaves(layer(inputs, **call_kwargs)):
            self.assertTrue(np.isfinite(to_numpy(output)).all())

    def _check_saved_model(self, layer, inputs, call_kwargs):
        module = tf.Module()
        module.layer = layer
        module.serve = tf.function(
            lambda x: layer(x, **call_kwargs), autograph=False
        )
        signature = module.serve.get_concrete_function(
            tf.nest.map_structure(
                lambda x: tf.TensorSpec(x.shape, x.dtype), inputs
            )
        )
        path = os.path.join(self.get_temp_dir(), "saved_model")
        tf.saved_model.save(module, path, signatures=signature)
        restored = tf.saved_model.load(path)
        self.assertAllClose(
            restored.serve(inputs),
            layer(inputs, **call_kwargs),
            rtol=1e-5,
            atol=1e-5,
        )


def to_numpy(value):
    """A NumPy array of a tensor of any backend, a variable or a number."""
    if isinstance(value, np.ndarray):
        return value
    from keras import ops

    return ops.convert_to_numpy(value)


def to_tensor(nest):
    """The nest with every array as a tensor of the backend."""
    import keras

    return keras.tree.map_structure(keras.ops.convert_to_tensor, nest)


def leaves(nest):
    """The arrays of a nest of tuples, lists and dicts, in order."""
    if isinstance(nest, dict):
        return [leaf for key in sorted(nest) for leaf in leaves(nest[key])]
    if _is_nest(nest):
        return [leaf for item in nest for leaf in leaves(item)]
    return [nest]


def shapes_of(nest):
    """Shapes in the same nest: one tuple, or a tuple of them, or a dict."""
    if isinstance(nest, dict):
        return {key: shapes_of(value) for key, value in nest.items()}
    if _is_nest(nest):
        return tuple(shapes_of(item) for item in nest)
    return tuple(nest.shape)


def gradients_of(layer, inputs, call_kwargs=None):
    """Trainable values and the gradients of the mean squared output.

    Returns:
        Two lists of NumPy arrays in the order of `layer.trainable_weights`;
        a weight the loss does not depend on has the gradient `None` on
        TensorFlow.
    """
    from keras import ops

    inputs = to_tensor(inputs)
    call_kwargs = call_kwargs or {}

    def loss_of(outputs):
        floats = [x for x in leaves(outputs) if "float" in str(x.dtype)]
        return sum(ops.mean(ops.square(x)) for x in floats)

    values = [to_numpy(w) for w in layer.trainable_weights]
    if ON_TENSORFLOW:
        with tf.GradientTape() as tape:
            loss = loss_of(layer(inputs, **call_kwargs))
        gradients = tape.gradient(
            loss, [w.value for w in layer.trainable_weights]
        )
        gradients = [
            None if g is None else to_numpy(tf.convert_to_tensor(g))
            for g in gradients
        ]
    else:
        import jax

        fixed = [w.value for w in layer.non_trainable_variables]

        def loss_at(trainable):
            outputs, _ = layer.stateless_call(
                trainable, fixed, inputs, **call_kwargs
            )
            return loss_of(outputs)

        gradients = jax.grad(loss_at)(
            [w.value for w in layer.trainable_weights]
        )
        gradients = [to_numpy(g) for g in gradients]
    return values, gradients


def _is_nest(value):
    return isinstance(value, (list, tuple)) and any(
        hasattr(x, "shape") or isinstance(x, (list, tuple, dict)) for x in value
    )


def _keras_object(value):
    from keras.saving import serialize_keras_object

    return serialize_keras_object(value)
