"""Step sizes for a weight: from its peak, or by least squared error."""

import functools

import numpy as np
from keras import ops

from tfshrink.fusion import fuse
from tfshrink.ops import quantize

CANDIDATES = 24


def peak_scale(grouped, bits, axis):
    """Round-to-nearest step: the peak of a group lands on the last level.

    Args:
        grouped: Weight as `quantize.group_view` splits it.
        bits: Scalar tensor.
        axis: Input axis of the weight, 0 or 1.

    Returns:
        Positive steps, without the axis that was reduced.
    """
    reduced = 1 if axis == 0 else -1
    peak = ops.max(ops.abs(grouped), axis=reduced)
    _, high, offset = quantize.grid(bits)
    return ops.maximum(peak, 1e-8) / (high + offset)


def _search(grouped, importance, bits, *, axis):
    """Step of least (weighted) squared error among shrunken peaks."""
    reduced = 1 if axis == 0 else -1
    groups = grouped.shape[axis]
    base = peak_scale(grouped, bits, axis)
    # The best step at 2 bits is near 0.6 of the peak's, at 8 bits near 1.
    lowest = ops.where(bits < 3, 0.3, ops.where(bits < 5, 0.5, 0.8))
    parts = np.linspace(0.0, 1.0, CANDIDATES, dtype="float32")
    parts = ops.convert_to_tensor(parts)

    def tried(index, found):
        best, least = found
        scale = base * (lowest + (1.0 - lowest) * parts[index])
        if groups > 1:  # channel scales stay float32, as kernels hold them
            scale = quantize.round_bfloat16(scale)
        rounded = quantize.fake_quantize(
            grouped, quantize.spread(scale, axis), bits
        )
        error = ops.sum(importance * (rounded - grouped) ** 2, axis=reduced)
        better = error < least
        return ops.where(better, scale, best), ops.minimum(error, least)

    # A loop, not a chain: XLA compiles one candidate, in a fourth of the time.
    start = (base, ops.full_like(base, 3e38))
    return ops.fori_loop(0, CANDIDATES, tried, start)[0]


@functools.cache
def _searcher(axis):
    return functools.partial(_search, axis=axis)


def search_scale(weight, bits, groups, *, axis=0, importance=None):
    """Scale search by squared error.

    Args:
        weight: `(inputs, outputs)` with `axis=0`, `(V, C)` with `axis=1`.
        bits: Bit-width.
        groups: Number of groups along the inputs.
        axis: Input axis.
        importance: Weight of each input's error `(inputs,)`, such as the
            mean square of its activations; `None` counts all alike.

    Returns:
        NumPy scales `(groups, outputs)`, or `(V, groups)` with `axis=1`.
    """
    weight = ops.convert_to_tensor(weight, "float32")
    inputs = weight.shape[axis]
    if importance is None:
        importance = np.ones(inputs, "float32")
    importance = np.asarray(importance, "float32")
    importance = importance[:, None] if axis == 0 else importance[None]
    shape = (inputs, 1) if axis == 0 else (1, inputs)
    importance = quantize.group_view(
        ops.reshape(importance, shape), groups, axis
    )
    grouped = quantize.group_view(weight, groups, axis)
    bits = ops.convert_to_tensor(bits, "int32")
    return np.asarray(fuse(_searcher(axis))(grouped, importance, bits))
