"""What differs between the TensorFlow and the JAX backend, in one place.

Everything above writes `keras.ops`; these few helpers compile a function for
the backend at hand and differentiate it.
"""

import functools

import keras
from keras import ops


def is_tensorflow():
    """Whether Keras runs on TensorFlow."""
    return keras.backend.backend() == "tensorflow"


@functools.cache
def fuse(function):
    """Compiles a small element-wise function into one kernel with XLA.

    On a CPU, oneDNN multiplies matrices faster than XLA, and XLA fuses
    element-wise chains that TensorFlow runs one by one: only the latter are
    wrapped (a de-quantized kernel in 0.13 ms instead of 1.4 ms). Inside a
    compiled function JAX fuses everything anyway; outside, this is its `jit`.

    Args:
        function: Function of tensors to tensors without variables. The same
            function is compiled once for each signature, however many
            layers use it: pass module-level functions.

    Returns:
        A function with the same arguments.
    """
    if not is_tensorflow():
        import jax

        jitted = jax.jit(function)
        return lambda *args: jitted(*[ops.convert_to_tensor(x) for x in args])
    import tensorflow as tf

    compiled = tf.function(function, jit_compile=True, autograph=False)
    concrete = {}

    def call(*args):
        # A variable would be captured by identity: one trace for each.
        values = [x.value if isinstance(x, keras.Variable) else x for x in args]
        values = [tf.convert_to_tensor(x) for x in values]
        key = tuple((x.dtype, *x.shape) for x in values)
        if key not in concrete:
            specs = [tf.TensorSpec(x.shape, x.dtype) for x in values]
            concrete[key] = compiled.get_concrete_function(*specs)
        return concrete[key](*values)

    return call


def _tensor(x):
    return None if x is None else ops.convert_to_tensor(x)


class Compiled:
    """A function of tensors, compiled once, that may assign to variables.

    Args:
        function: Called as `function(*args)` with (nests of) tensors. It may
            read and assign any of `variables`.
        variables: The Keras variables the function touches; only the JAX
            backend needs them, as explicit arguments.

    Attributes:
        traces: Number of times the function was traced.
    """

    def __init__(self, function, variables=()):
        self.traces = 0
        self.variables = list(variables)

        def counted(*args):
            self.traces += 1
            return function(*args)

        if is_tensorflow():
            import tensorflow as tf

            on_gpu = bool(tf.config.list_physical_devices("GPU"))
            self._call = tf.function(
                counted, jit_compile=on_gpu or None, autograph=False
            )
        else:
            self._call = self._jax_call(counted)

    def _jax_call(self, function):
        import jax

        def pure(values, *args):
            pairs = list(zip(self.variables, values, strict=True))
            with keras.StatelessScope(state_mapping=pairs) as scope:
                outputs = function(*args)
            new = [scope.get_current_value(v) for v in self.variables]
            triples = enumerate(zip(new, values, strict=True))
            return outputs, {i: n for i, (n, v) in triples if n is not v}

        compiled = jax.jit(pure)

        def call(*args):
            values = [v.value for v in self.variables]
            outputs, changed = compiled(values, *args)
            for index, value in changed.items():
                self.variables[index].assign(value)
            return outputs

        return call

    def __call__(self, *args):
        # A Python number would be a constant: one trace for each value.
        return self._call(*keras.tree.map_structure(_tensor, args))


def value_and_gradients(function, variables):
    """Runs `function()` and differentiates its first output.

    Args:
        function: Takes nothing and returns `(loss, auxiliary)`.
        variables: Trainable Keras variables.

    Returns:
        `(loss, auxiliary, gradients)`, the gradients as dense tensors in the
        order of `variables`.
    """
    if is_tensorflow():
        import tensorflow as tf

        values = [v.value for v in variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            loss, auxiliary = function()
        gradients = tape.gradient(
            loss, values, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return loss, auxiliary, [tf.convert_to_tensor(g) for g in gradients]
    import jax
    from keras.src.backend.common import stateless_scope

    outer = stateless_scope.get_stateless_scope()
    mapping = dict(outer.state_mapping) if outer is not None else {}

    def pure(values):
        inner = {**mapping}
        inner.update({id(v): x for v, x in zip(variables, values, strict=True)})
        with keras.StatelessScope() as scope:
            scope.state_mapping.update(inner)
            return function()

    values = [v.value for v in variables]
    (loss, auxiliary), gradients = jax.value_and_grad(pure, has_aux=True)(
        values
    )
    return loss, auxiliary, gradients
