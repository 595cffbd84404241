"""AWQ for a whole model: folds factors in, then rounds every width."""

import numpy as np

from tfshrink.models import block_runner
from tfshrink.models.folds import fold
from tfshrink.models.folds import foldable
from tfshrink.ops import quantize
from tfshrink.ops.awq import best_input_scale
from tfshrink.ops.scale_search import search_scale
from tfshrink.training.initialisation.block_report import BlockReport
from tfshrink.training.initialisation.block_report import relative_error


def activation_aware(model, tokens, *, progress=None):
    """Scales input channels by what goes through them, then fits scales.

    In full precision the model computes what it did. All widths share one
    factor per input, chosen by the error at the lowest banked width, or the
    lowest trained one where nothing is banked.

    Args:
        model: Built `Decoder`.
        tokens: Calibration tokens `(N, T)`.
        progress: Called with the number of finished blocks.

    Returns:
        List of `BlockReport` at that width.

    Reference: Lin et al., AWQ, arXiv:2306.00978.
    """
    precision = model.precision
    bits = min(precision.banked or precision.widths)
    runner = block_runner.BlockRunner(model, tokens.shape[1], bits)
    states = block_runner.embedded(model, tokens)
    reports = []
    for index, block in enumerate(model.blocks):
        runner.load(block)
        wanted = runner.outputs(states, quantized=False)
        found = runner.statistics(states)
        powers = {name: np.diag(own[0]) for name, own in found.items()}
        _fit(runner.block, [bits], powers)
        before = relative_error(runner.outputs(states, quantized=True), wanted)
        for name, scale in _search(block, found, bits).items():
            fold(block, name, scale)
            powers[name] = powers[name] / scale**2
        _fit(block, sorted({8, *precision.widths}), powers)
        runner.load(block)
        error = relative_error(runner.outputs(states, quantized=True), wanted)
        reports.append(
            BlockReport(
                block=block.name,
                bits=bits,
                nearest=before,
                rounded=error,
                error=error,
            )
        )
        states = wanted
        if progress is not None:
            progress(index + 1)
    return reports


def _search(block, found, bits):
    """Best factors of each foldable group."""
    scales = {}
    for name in foldable(block):
        members = block.groups()[name]
        groups = members[0].quantizer.groups_at(bits)

        def round_weight(weight, importance, groups=groups):
            scale = search_scale(weight, bits, groups, importance=importance)
            return np.asarray(quantize.quantize_weight(weight, scale, bits))

        kernels = [np.asarray(member.kernel) for member in members]
        scales[name], _, _ = best_input_scale(
            kernels, *found[name], round_weight
        )
    return scales


def _fit(block, widths, powers):
    """Scales, and codes where banked, weighted by the inputs' power."""
    for name, members in block.groups().items():
        for member in members:
            member.quantizer.fit(member.kernel, widths, importance=powers[name])
