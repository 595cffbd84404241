"""Block by block: scales, codes and, if asked for, a fit of each block."""

import dataclasses

import numpy as np

from tfshrink.errors import unknown_choice
from tfshrink.ops.gptq import gptq
from tfshrink.ops.gptq import inverse_factor
from tfshrink.training.initialisation import capture
from tfshrink.training.initialisation.blockwise import BlockFitter

METHODS = ("awq", "blockwise", "gptq", "mse", "rtn")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockReport:
    """What initialising one block at one bit-width did.

    Args:
        block: Block name.
        bits: Bit-width.
        error: Relative squared error of the block's output, quantized
            prefix included, after initialisation.
        before: The same with rounding alone inside this block.
    """

    block: str
    bits: int
    error: float
    before: float


def initialise(model, tokens, *, method="gptq", widths=None, fit=None, progress=None):
    """Sets scales and codes of every trained width.

    Each block sees what the quantized blocks below it put out, so that later
    blocks correct for earlier ones.

    Args:
        model: Decoder; banked widths get codes of their own.
        tokens: Calibration tokens `(N, T)`; `rtn` and `mse` need none.
        method: One of `METHODS`.
        widths: Bit-widths to set; by default the banked ones.
        fit: Options of `BlockFitter` for `"blockwise"`.
        progress: Called with the number of finished blocks.

    Returns:
        List of `BlockReport` (empty for `rtn` and `mse`).
    """
    from tfshrink.models.load import fit_scales

    if method not in METHODS:
        raise unknown_choice("init", method, METHODS)
    if method in ("rtn", "mse"):
        fit_scales(model, method=method)
        return []
    widths = model.precision.banked if widths is None else widths
    target, context = capture.first_inputs(model, tokens)
    streams = {bits: target for bits in widths}
    fitter = None
    if method == "blockwise":
        fitter = BlockFitter(model, context, **(fit or {}))
    reports = []
    for index, block in enumerate(model.blocks):
        wanted = capture.run_block(block, target, context)
        for bits in widths:
            own = np.full(4, bits, "int32")
            before = _error(capture.run_block(block, streams[bits], context, own), wanted)
            _round(block, streams[bits], context, bits)
            if fitter is not None:
                fitter.fit(block, streams[bits], wanted, bits)
            streams[bits] = capture.run_block(block, streams[bits], context, own)
            reports.append(
                BlockReport(
                    block=block.name,
                    bits=bits,
                    error=_error(streams[bits], wanted),
                    before=before,
                )
            )
        target = wanted
        if progress is not None:
            progress(index + 1)
    return reports


def _round(block, states, context, bits):
    """GPTQ of every member of a block at one bit-width."""
    found = capture.hessians(block, states, context)
    for name, members in block.groups().items():
        importance = np.diag(found[name])
        for member in members:
            member.quantizer.fit(
                member.kernel, [bits], importance=importance
            )
        factor = inverse_factor(found[name])
        kernels = [np.asarray(member.kernel) for member in members]
        scales = [np.asarray(m.quantizer.scale(bits)) for m in members]
        codes = gptq(
            np.concatenate(kernels, 1), factor, np.concatenate(scales, 1), bits
        )
        stops = np.cumsum([kernel.shape[1] for kernel in kernels])[:-1]
        for member, own in zip(members, np.split(codes, stops, 1), strict=True):
            member.quantizer.set_codes(bits, own)


def _error(output, wanted):
    """Squared error of a block's output relative to its variance."""
    return float(
        np.mean((output - wanted) ** 2)
        / np.mean((wanted - wanted.mean((0, 1))) ** 2)
    )
