"""Puts the least important heads and channels last, where plans remove them."""

import numpy as np

from tfshrink.models import block_runner
from tfshrink.models.ordering import CHANNELS
from tfshrink.models.ordering import HEADS
from tfshrink.models.ordering import reorder


def order_by_importance(model, tokens, *, progress=None):
    """Sorts heads and MLP channels, the most important first.

    Importance is the mean square of what a head or a channel adds to the sum of
    all, over the calibration text. In full precision the model computes what
    it did.

    Args:
        model: Built `Decoder`, before its scales are fitted.
        tokens: Calibration tokens `(N, T)`.
        progress: Called with the number of finished blocks.

    Reference: the same measure for single weights is Wanda's, Sun et al.,
    arXiv:2306.11695.
    """
    precision = model.precision
    bits = min(precision.banked or precision.widths or (8,))  # all is float
    runner = block_runner.BlockRunner(model, tokens.shape[1], bits)
    states = block_runner.embedded(model, tokens)
    for index, block in enumerate(model.blocks):
        runner.load(block)
        moments = runner.hessians(states)
        states = runner.outputs(states, quantized=False)
        for kind, group, parts in (
            (HEADS, "attention_out", model.config.kv_heads),
            (CHANNELS, "mlp_out", model.config.hidden),
        ):
            kernel = block.groups()[group][0].kernel
            scores = contributions(moments[group], np.asarray(kernel), parts)
            known = block.order.get(kind, np.arange(parts))
            reorder(block, kind, known[np.argsort(-scores, kind="stable")])
        if progress is not None:
            progress(index + 1)


def contributions(moment, kernel, parts):
    """Mean square of what each part of the inputs adds to the outputs.

    Args:
        moment: Mean of `x x^T` of the inputs, `(inputs, inputs)`.
        kernel: `(inputs, outputs)`.
        parts: Parts of equal size that the inputs are.

    Returns:
        `(parts,)` float64.
    """
    width = len(kernel) // parts
    rows = kernel.reshape(parts, width, -1).astype("float64")
    blocks = moment.reshape(parts, width, parts, width)
    own = blocks[np.arange(parts), :, np.arange(parts)]  # (parts, width, width)
    return np.einsum("pio,pij,pjo->p", rows, own, rows, optimize=True)
