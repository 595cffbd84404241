"""The exits of a model, as plain arrays: what an export writes down."""

import dataclasses

import numpy as np

from tfshrink.deploy.frozen import freeze_block
from tfshrink.deploy.frozen import freeze_norm
from tfshrink.deploy.frozen import FrozenDense
from tfshrink.deploy.frozen import FrozenNorm
from tfshrink.ops.quantize import FULL

BITS = 8  # of an exit's weights, beside blocks that are quantized
_FLOAT = 32


@dataclasses.dataclass(eq=False)
class FrozenExit:
    """What reads a token off the states behind a block.

    Args:
        blocks: `FrozenBlock`s of its own.
        norm: `FrozenNorm` behind them.
        translate: `FrozenDense` `(C, C)`, to what the head reads.
        narrow, judge: The classifier's two layers, float32.
    """

    blocks: list
    norm: FrozenNorm
    translate: FrozenDense
    narrow: FrozenDense
    judge: FrozenDense


@dataclasses.dataclass(eq=False)
class FrozenExits:
    """The exits that a policy asks.

    Args:
        layers: Blocks behind which they stand, rising.
        exits: `FrozenExit`s, one each.
        down: `FrozenDense` `(R, C)`, of the light head; `None` without one.
        up: `FrozenDense` `(V, R)`, or `None`.
        candidates: Tokens K that an exit proposes.
        rounded: Whether the head reads states that are rounded to int8.
    """

    layers: tuple
    exits: list
    down: FrozenDense | None
    up: FrozenDense | None
    candidates: int
    rounded: bool


def exit_bits(plan):
    """Bits of an exit's weights: a plan names none for them.

    Args:
        plan: `Plan`.

    Returns:
        8 where all blocks are quantized: an exit of floats would be read as
        long as seven blocks of 4 bits. Else 32, as it was trained.
    """
    blocks = plan.bits[: 4 * plan.layers]
    return BITS if max(blocks) <= BITS else _FLOAT


def freeze_exits(model, plan, layers):
    """Reads the exits behind some blocks.

    Args:
        model: Built `Decoder` with exits.
        plan: `Plan` that its blocks ship at.
        layers: Blocks whose exits are wanted.

    Returns:
        `FrozenExits`.
    """
    bits, light = exit_bits(plan), model.light_head
    heads = dict(zip(model.exits.layers, model.exit_heads, strict=True))
    head_bits = plan.bits[-1]
    return FrozenExits(
        layers=tuple(layers),
        exits=[_frozen(model.config, heads[own], bits) for own in layers],
        down=light and _dense(light.down, _FLOAT),
        up=light and _at(_rows(light.up), bits),
        candidates=model.exits.candidates,
        rounded=bool(plan.activations) and head_bits < FULL,
    )


def _frozen(config, head, bits):
    blocks = [_block(config, block, bits) for block in head.inner]
    return FrozenExit(
        blocks=blocks,
        norm=freeze_norm(head.norm),
        translate=_dense(head.translate, bits),
        narrow=_dense(head.narrow, _FLOAT, head.narrow_bias),
        judge=_dense(head.judge, _FLOAT, head.judge_bias),
    )


def _block(config, block, bits):
    """A block of an exit: whole, without scales of its own."""
    count = len(block.groups())
    whole = config.kv_heads, config.hidden
    found = freeze_block(
        config, block, iter([_FLOAT] * count), iter([0] * count), *whole
    )
    found.groups = {
        name: [_at(member, bits) for member in members]
        for name, members in found.groups.items()
    }
    return found


def _dense(kernel, bits, bias=None):
    """A kernel `(inputs, outputs)`."""
    values = np.ascontiguousarray(np.array(kernel, "float32").T)
    bias = None if bias is None else np.array(bias, "float32")
    return _at(FrozenDense(values, None, _FLOAT, bias), bits)


def _rows(table):
    return FrozenDense(np.array(table, "float32"), None, _FLOAT)


def _at(dense, bits):
    """A float weight at 8 bits with one scale an output, or as it is."""
    if bits == _FLOAT:
        return dense
    peak = np.abs(dense.codes).max(axis=1, keepdims=True)
    scale = np.where(peak > 0, peak, 1.0).astype("float32") / 127.0
    codes = np.rint(dense.codes / scale).astype("int8")
    return dataclasses.replace(dense, codes=codes, scale=scale, bits=bits)
