"""Moves peaks of inputs into weights, for kernels that round inputs to int8."""

import numpy as np

from tfshrink.models import block_runner
from tfshrink.models.folds import fold
from tfshrink.models.folds import foldable

_SMALLEST = 1e-5  # peaks below it count as this


def smooth(model, tokens, power, *, progress=None):
    """Divides inputs by a factor each and multiplies the weights by it.

    One scale serves all inputs of a token; a few large ones leave few steps for
    the others. In full precision the model computes what it did.

    Args:
        model: Built `Decoder`, before its scales are fitted.
        tokens: Calibration tokens `(N, T)`.
        power: How much of the peaks moves, 0 to 1.
        progress: Called with the number of finished blocks.

    Reference: Xiao et al., SmoothQuant, arXiv:2211.10438.
    """
    precision = model.precision
    bits = min(precision.banked or precision.widths)  # unused: all is float
    runner = block_runner.BlockRunner(model, tokens.shape[1], bits)
    states = block_runner.embedded(model, tokens)
    for index, block in enumerate(model.blocks):
        runner.load(block)
        peaks = runner.peaks(states)
        states = runner.outputs(states, quantized=False)
        for name in foldable(block):
            kernels = [member.kernel for member in block.groups()[name]]
            fold(block, name, factors(peaks[name], kernels, power))
        if progress is not None:
            progress(index + 1)


def factors(peaks, kernels, power):
    """What the rows of kernels are multiplied by; their geometric mean is 1.

    Args:
        peaks: Largest magnitude of each input, `(inputs,)`.
        kernels: `(inputs, outputs)` each; all read the same inputs.
        power: Exponent of the peaks; the rows' own peaks get the rest.
    """
    rows = np.max([np.abs(np.asarray(k)).max(axis=1) for k in kernels], axis=0)
    logs = power * np.log(np.maximum(peaks, _SMALLEST))
    logs -= (1.0 - power) * np.log(np.maximum(rows, _SMALLEST))
    return np.exp(logs - logs.mean()).astype("float32")
