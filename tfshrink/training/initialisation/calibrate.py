"""Block by block: scales, codes and, if asked for, a fit of each block."""

import numpy as np
from keras import ops

from tfshrink.errors import unknown_choice
from tfshrink.models import block_runner
from tfshrink.models.plain_decoder import check_plain_decoder
from tfshrink.ops.gptq import gptq
from tfshrink.ops.gptq import inverse_factor
from tfshrink.training.initialisation.absorb import absorbing
from tfshrink.training.initialisation.awq import activation_aware
from tfshrink.training.initialisation.block_report import BlockReport
from tfshrink.training.initialisation.block_report import relative_error
from tfshrink.training.initialisation.blockwise import BlockFitter

METHODS = ("awq", "blockwise", "gptq", "mse", "rtn")


def initialise(
    model,
    tokens,
    *,
    method="gptq",
    widths=None,
    removed=None,
    fit=None,
    progress=None,
):
    """Sets scales and codes of every trained width.

    Each block sees what the quantized blocks below it put out, so that later
    blocks correct for earlier ones.

    Args:
        model: Decoder; banked widths get codes of their own.
        tokens: Calibration tokens `(N, T)`; `rtn` and `mse` need none.
        method: One of `METHODS`.
        widths: Bit-widths to set; by default the banked ones (`awq` sets
            all trained ones and 8, of which it shares the factors).
        removed: Heads and channels that every plan removes, a pair a block
            (`structure.removed_parts`): codes make up for them.
        fit: Options of `BlockFitter` for `"blockwise"`.
        progress: Called with the number of finished blocks.

    Returns:
        List of `BlockReport` (empty for `rtn` and `mse`).
    """
    from tfshrink.models.load import fit_scales

    if method not in METHODS:
        raise unknown_choice("init", method, METHODS)
    check_plain_decoder(model.config, "model")
    if method in ("rtn", "mse"):
        fit_scales(model, method=method)
        return []
    if method == "awq":
        return activation_aware(model, tokens, progress=progress)
    widths = model.precision.banked if widths is None else widths
    target = block_runner.embedded(model, tokens)
    streams = {bits: target for bits in widths}
    runners = {
        bits: block_runner.BlockRunner(model, tokens.shape[1], bits, removed)
        for bits in widths
    }
    fitters = {}
    if method == "blockwise":
        fitters = {
            bits: BlockFitter(runner, **(fit or {}))
            for bits, runner in runners.items()
        }
    reports = []
    for index, block in enumerate(model.blocks):
        wanted = None
        for bits, runner in runners.items():
            runner.load(block)
            if wanted is None:
                wanted = runner.outputs(target, quantized=False)
            states = streams[bits]
            with absorbing(runner, states) as kept:
                nearest, outputs = _round(runner, states, wanted, kept)
                rounded = relative_error(outputs, wanted)
                if fitters:
                    fitter = fitters[bits]
                    outputs = _fitted(runner, fitter, states, wanted, outputs)
            runner.store(block)
            streams[bits] = outputs
            reports.append(
                BlockReport(
                    block=block.name,
                    bits=bits,
                    nearest=nearest,
                    rounded=rounded,
                    error=relative_error(outputs, wanted),
                )
            )
        target = wanted
        if progress is not None:
            progress(index + 1)
    if 4 in widths:
        _round_head(model, target)
    return reports


def _round_head(model, states, bits=4):
    """GPTQ of the head, which a tied embedding is, by what the head reads.

    Args:
        model: Decoder.
        states: What the last block puts out, full precision, `(N, T, C)`.
        bits: The bit-width at which it has codes of its own.
    """
    product = 0.0
    for rows in block_runner.batches(states, whole=True):
        x = ops.cast(model.final_norm(rows), "float32")
        x = np.asarray(x).reshape(-1, states.shape[-1])
        product = product + x.T @ x
    product = product / (states.shape[0] * states.shape[1])
    tied = model.head is None
    layer = model.embedding if tied else model.head
    weight = np.asarray(layer.table if tied else layer.kernel)
    turned = np.transpose if tied else np.asarray  # (V, C) to (C, V) and back
    layer.quantizer.fit(weight, [bits], importance=np.diag(product))
    codes = gptq(
        turned(weight),
        inverse_factor(product),
        turned(np.asarray(layer.quantizer.scale(bits))),
        bits,
    )
    layer.quantizer.set_codes(bits, turned(codes))


def _fitted(runner, fitter, states, wanted, before):
    """Trains the scratch block; returns the outputs of the better state."""
    kept = runner.snapshot()
    if not np.isfinite(fitter.fit(states, wanted)):
        runner.restore(kept)
        return before
    runner.round_codes()
    after = runner.outputs(states, quantized=True)
    if relative_error(after, wanted) < relative_error(before, wanted):
        return after
    runner.restore(kept)
    return before


def _round(runner, states, wanted, kept):
    """GPTQ of every member.

    Args:
        runner: `BlockRunner` with a block loaded.
        states: What goes into the block, `(N, T, C)`.
        wanted: What is to come out.
        kept: Name of a layer group to how many of its inputs stay.

    Returns:
        The relative error of rounding to nearest, and the outputs now.
    """
    bits = runner.bits
    found = runner.hessians(states)
    for name, count in kept.items():
        # What is removed pays for no error, and causes none.
        found[name][count:] = found[name][:, count:] = 0.0
    groups = runner.block.groups()
    for name, members in groups.items():
        importance = np.diag(found[name])
        for member in members:
            member.quantizer.fit(member.kernel, [bits], importance=importance)
    nearest = relative_error(runner.outputs(states, quantized=True), wanted)
    for name, members in groups.items():
        kernels = [np.asarray(member.kernel) for member in members]
        scales = [np.asarray(m.quantizer.scale(bits)) for m in members]
        codes = gptq(
            np.concatenate(kernels, 1),
            inverse_factor(found[name]),
            np.concatenate(scales, 1),
            bits,
        )
        stops = np.cumsum([kernel.shape[1] for kernel in kernels])[:-1]
        for member, own in zip(members, np.split(codes, stops, 1), strict=True):
            member.quantizer.set_codes(bits, own)
    return nearest, runner.outputs(states, quantized=True)
