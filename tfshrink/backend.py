"""What differs between the TensorFlow and the JAX backend, in one place.

Everything above writes `keras.ops`; these few helpers compile a function for
the backend at hand and differentiate it.
"""

import contextlib
import contextvars

import keras
from keras import ops

ROW_BY_ROW = 8  # rows, at most, that XLA multiplies one after the other

_xla_on_cpu = contextvars.ContextVar("xla_on_cpu", default=False)


def is_tensorflow():
    """Whether Keras runs on TensorFlow."""
    return keras.backend.backend() == "tensorflow"


def is_replicated():
    """Whether the model has a copy on each of several TensorFlow devices."""
    if not is_tensorflow():
        return False
    import tensorflow as tf

    return tf.distribute.has_strategy()


def by_xla():
    """Whether what is traced becomes a program of XLA's (see `Compiled`)."""
    return not is_tensorflow() or _on_gpu() or _xla_on_cpu.get()


def shapes_may_depend_on_values():
    """Whether compiled functions may hold tensors of a size they compute.

    TensorFlow on a CPU runs them; XLA does not.
    """
    return not by_xla()


def on_cpu():
    """Whether a CPU does the work, alone."""
    if is_tensorflow():
        return not _on_gpu() and not is_replicated()
    import jax

    return jax.default_backend() == "cpu"


def _by_xla_on_cpu():
    """Whether what is traced now becomes a program of XLA's for a CPU."""
    return _xla_on_cpu.get() if is_tensorflow() else on_cpu()


def _on_gpu():
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def multiply(a, b, *, transpose_a=False, transpose_b=False):
    """Product of matrices, neither of them copied to be transposed.

    Args:
        a: `(..., M, K)`.
        b: `(..., K, N)`.
        transpose_a: Whether `a` is `(..., K, M)`.
        transpose_b: Whether `b` is `(..., N, K)`.

    Returns:
        `(..., M, N)`.
    """
    if is_tensorflow():
        import tensorflow as tf

        flags = {"transpose_a": transpose_a, "transpose_b": transpose_b}
        return tf.matmul(a, b, **flags)
    a = ops.swapaxes(a, -1, -2) if transpose_a else a
    b = ops.swapaxes(b, -1, -2) if transpose_b else b
    return ops.matmul(a, b)


def multiply_rows(x, kernel):
    """Product with a kernel `(N, K)`, few rows one by one in XLA on a CPU.

    There a row is multiplied as fast as memory gives the matrix, if each
    output's inputs lie together; several rows at once take 2 (float32) to 7
    times (bfloat16) as long as that, one after the other less than their
    number, since the matrix stays in the CPU's cache.

    Args:
        x: `(..., K)`.
        kernel: `(N, K)`.

    Returns:
        `(..., N)`.
    """
    rows = ops.reshape(x, (-1, x.shape[-1]))
    count = rows.shape[0]
    if count is None or count > ROW_BY_ROW or not _by_xla_on_cpu():
        out = multiply(rows, kernel, transpose_b=True)
    else:
        own = ops.split(rows, count) if count > 1 else [rows]
        own = [multiply(row, kernel, transpose_b=True) for row in own]
        out = ops.concatenate(own) if count > 1 else own[0]
    return ops.reshape(out, (*ops.shape(x)[:-1], kernel.shape[0]))


def kept_in_loop(nest, index):
    """The nest, so that XLA converts nothing of it in front of a loop.

    What XLA on a CPU does with bfloat16 begins with float32; of what a loop
    never changes it would do that once and then read twice the bytes in every
    round.

    Args:
        nest: Tensors that a round of a loop reads.
        index: A scalar that is another one in each round.
    """
    if not _by_xla_on_cpu():
        return nest
    flat = keras.tree.flatten(nest)
    if is_tensorflow():
        from tensorflow.compiler.tf2xla.python import xla

        flat = xla.optimization_barrier(*flat, index)[:-1]
    else:
        import jax

        flat = jax.lax.optimization_barrier([*flat, index])[:-1]
    return keras.tree.pack_sequence_as(nest, flat)


def uniform(shape, seed):
    """Uniform numbers in [0, 1), float32, of an integer tensor `(2,)`."""
    if is_tensorflow():
        import tensorflow as tf

        return tf.random.stateless_uniform(shape, seed)
    import jax

    key = jax.random.fold_in(jax.random.PRNGKey(seed[0]), seed[1])
    return jax.random.uniform(key, shape)


def softmax(x):
    """Softmax over the last axis, inside in float32; the type stays."""
    if is_tensorflow():
        import tensorflow as tf

        return tf.nn.softmax(x)  # oneDNN widens by itself
    import jax

    # Keras warns of an axis of one: the only token of a sequence is no mistake.
    return ops.cast(jax.nn.softmax(ops.cast(x, "float32")), x.dtype)


def _tensor(x):
    if x is None:
        return x
    if is_tensorflow():
        import tensorflow as tf

        if isinstance(x, tf.Variable):
            # As it is, a function would capture one that has its shape.
            return tf.convert_to_tensor(x)
        if isinstance(x, tf.distribute.DistributedValues):
            return x
    return ops.convert_to_tensor(x)


class Compiled:
    """A function of tensors, compiled once, that may assign to variables.

    Args:
        function: Called as `function(*args)` with (nests of) tensors. It may
            read and assign any of `variables`.
        variables: The Keras variables the function touches; only the JAX
            backend needs them, as explicit arguments.
        xla: Whether XLA compiles it on a CPU, too. It does on a GPU, and all
            that JAX runs.

    Attributes:
        traces: Number of times the function was traced.
    """

    def __init__(self, function, variables=(), *, xla=False):
        self.traces = 0
        self.variables = list(variables)
        xla = xla and is_tensorflow() and on_cpu()

        def counted(*args):
            self.traces += 1
            with _tracing(xla):
                return function(*args)

        if is_tensorflow():
            import tensorflow as tf

            # XLA compiles for one device.
            jit = xla or (_on_gpu() and not is_replicated())
            self._call = tf.function(
                counted, jit_compile=jit or None, autograph=False
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


@contextlib.contextmanager
def _tracing(xla_on_cpu):
    """Whether what is traced inside becomes a program of XLA's for a CPU."""
    token = _xla_on_cpu.set(xla_on_cpu)
    try:
        yield
    finally:
        _xla_on_cpu.reset(token)


def all_slopes(arguments):
    """The gradients of a custom gradient's outputs, as a tuple.

    Args:
        arguments: What the backward function got: from JAX one tuple where
            there are several outputs, from TensorFlow one argument each.
    """
    first = arguments[0]
    return tuple(first) if isinstance(first, (tuple, list)) else arguments


def first_slope(arguments):
    """The gradient of a custom gradient's first output."""
    return all_slopes(arguments)[0]


def value_and_gradients(function, variables, *, dense=True):
    """Runs `function()` and differentiates its first output.

    Args:
        function: Takes nothing and returns `(loss, auxiliary)`.
        variables: Trainable Keras variables.
        dense: `False` leaves the gradient of a variable of which rows were
            looked up as those rows; `add_gradient` takes it.

    Returns:
        `(loss, auxiliary, gradients)`, the gradients as tensors in the order
        of `variables`.
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
        if dense:
            gradients = [tf.convert_to_tensor(g) for g in gradients]
        return loss, auxiliary, gradients
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


def gradients(function, tensors):
    """Gradients of a scalar function of tensors, one in each of them.

    Args:
        function: Takes the tensors, returns a scalar.
        tensors: List of tensors, floating.

    Returns:
        A list of tensors, dense.
    """
    if is_tensorflow():
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(tensors)
            out = function(*tensors)
        found = tape.gradient(
            out, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return [tf.convert_to_tensor(x) for x in found]
    import jax

    return list(jax.grad(function, tuple(range(len(tensors))))(*tensors))


def add_gradient(total, gradient, share):
    """Adds `share * gradient` to a variable.

    Args:
        total: Keras variable, float32.
        gradient: Of `value_and_gradients`, dense or not.
        share: Scalar float32 tensor.
    """
    if is_tensorflow():
        import tensorflow as tf

        # A sum that each device has its own of takes no rows.
        if isinstance(gradient, tf.IndexedSlices) and not is_replicated():
            rows = share * tf.cast(gradient.values, "float32")
            total.value.scatter_add(tf.IndexedSlices(rows, gradient.indices))
            return
    total.assign(total + share * ops.cast(gradient, "float32"))
