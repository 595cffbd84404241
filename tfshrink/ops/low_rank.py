"""Products with kernels that carry low-rank terms."""

import keras
from keras import ops

from tfshrink.backend import all_slopes
from tfshrink.backend import multiply


def adapted_matmuls(x, kernels, downs, ups):
    """Returns `x kernel` for each kernel; low-rank terms are inside already.

    With many rows it costs less to add a low-rank term to its kernel once
    than to add its product to every row. The terms get their gradients from
    the narrow side: a kernel's own gradient, which is as large as the kernel,
    is computed only for who asks for it.

    Args:
        x: `(N, inputs)`.
        kernels: One `(inputs, outputs)` a member of a layer group; each holds
            the member's `down^T up`.
        downs: One `(R, inputs)` a member, R the same for all.
        ups: One `(R, outputs)` a member.

    Returns:
        A list of `(N, outputs)`.
    """
    count = len(kernels)

    @keras.ops.custom_gradient
    def differentiable(x, *matrices):
        kernels = matrices[:count]
        downs, ups = matrices[count : 2 * count], matrices[2 * count :]

        def backward(*slopes, **_):
            return _gradients(x, kernels, downs, ups, all_slopes(slopes))

        return [ops.matmul(x, kernel) for kernel in kernels], backward

    return differentiable(x, *kernels, *downs, *ups)


def _gradients(x, kernels, downs, ups, slopes):
    """Gradients in x, in every kernel, down and up."""
    by_x = [
        multiply(slope, kernel, transpose_b=True)
        for slope, kernel in zip(slopes, kernels, strict=True)
    ]
    by_kernel = [multiply(x, slope, transpose_a=True) for slope in slopes]
    # The members' narrow sides stand side by side: fewer, wider products.
    count = len(kernels)
    narrow = multiply(x, ops.concatenate(downs), transpose_b=True)
    inner = ops.concatenate(
        [
            multiply(slope, up, transpose_b=True)
            for slope, up in zip(slopes, ups, strict=True)
        ],
        axis=1,
    )
    by_down = ops.split(multiply(inner, x, transpose_a=True), count)
    by_up = [
        multiply(part, slope, transpose_a=True)
        for part, slope in zip(
            ops.split(narrow, count, axis=1), slopes, strict=True
        )
    ]
    return sum(by_x), *by_kernel, *by_down, *by_up
