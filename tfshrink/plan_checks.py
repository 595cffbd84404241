"""What a plan may hold."""

import numbers

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError

BITS = (2, 3, 4, 5, 6, 7, 8, 16, 32)
GROUP_SIZES = (0, 32, 64, 128, 256)
SPARSITIES = ("unstructured", "2:4")
REMOVED = ("heads", "channels")  # fields with one level a block
MOST_LAYERS = 10_000  # a damaged file may ask for as many names


def check_bits(bits, argument="bits"):
    """Raises a `UserError` unless `bits` is a bit-width plans may hold."""
    if not _is_whole(bits) or bits not in BITS:
        raise UserError(
            f"`{argument}` must be between 2 and 8, or 16 or 32. "
            f"Received: bits={bits!r}"
        )


def check_plan(plan):
    """Raises a `UserError` for a field that no plan may hold.

    Args:
        plan: A `Plan`, its fields as they were given.
    """
    check_kinds(plan)
    names = plan.names
    if len(plan.bits) != len(names):
        raise UserError(
            f"`plan` must have {len(names)} layer groups for a model of "
            f"{plan.layers} blocks. Received: {len(plan.bits)}"
        )
    for name, bits in zip(names, plan.bits, strict=True):
        check_bits(bits, f"plan: {name}")
    if not _is_whole(plan.group) or plan.group not in GROUP_SIZES:
        raise UserError(
            f"`group` must be one of {GROUP_SIZES} (0 is per channel). "
            f"Received: {plan.group}"
        )
    if not _is_whole(plan.activations) or plan.activations not in (0, 8):
        raise UserError(
            "`activations` must be 0 (float) or 8 (dynamic int8). "
            f"Received: {plan.activations}"
        )
    check_pruning(plan)


def check_kinds(plan):
    """Raises a `UserError` for a field of the wrong type."""
    check_layers(plan.layers)
    if not isinstance(plan.tied, bool):
        raise UserError(
            f"`tied` must be true or false. Received: {plan.tied!r}"
        )
    for name in ("bits", "pruning", *REMOVED):
        value = getattr(plan, name)
        if not isinstance(value, (tuple, list)):
            part = "block" if name in REMOVED else "layer group"
            raise UserError(
                f"`{name}` must hold one number a {part}. Received: {value!r}"
            )
    if not isinstance(plan.name, str):
        raise UserError(f"`name` must be text. Received: {plan.name!r}")
    if plan.exit is not None and not isinstance(plan.exit, dict):
        raise UserError(
            "`exit` must be text, a dict of options, or None. "
            f"Received: {plan.exit!r}"
        )


def check_layers(layers):
    """Raises a `UserError` unless `layers` is a number of blocks."""
    if not _is_whole(layers) or not 1 <= layers <= MOST_LAYERS:
        raise UserError(
            "`layers` must be the number of blocks, at least 1 and at most "
            f"{MOST_LAYERS}. Received: {layers!r}"
        )


def check_pruning(plan):
    """Raises a `UserError` unless the levels fit the plan's groups."""
    if plan.sparsity not in SPARSITIES:
        raise unknown_choice("sparsity", plan.sparsity, SPARSITIES)
    if plan.pruning and len(plan.pruning) != len(plan.bits):
        raise UserError(
            f"`pruning` must have {len(plan.bits)} entries, one a layer "
            f"group. Received: {len(plan.pruning)}"
        )
    for name, bits, level in zip(
        plan.names,
        plan.bits,
        plan.pruning or (0.0,) * len(plan.bits),
        strict=True,
    ):
        _check_level(level, f"`pruning` of {name}")
        if level and not name.startswith("block_"):
            raise UserError(
                f"`pruning` of {name} must be 0: rows of it are looked up. "
                f"Received: {level}"
            )
        if level and plan.sparsity == "2:4" and level != 0.5:
            raise UserError(
                f"`pruning` of {name} must be 0 or .5 where `sparsity` is "
                f"2:4. Received: {level}"
            )
        if level and bits == 2:
            raise UserError(
                f"`pruning` of {name} must be 0 at 2 bits: that grid has "
                f"no zero. Received: {level}"
            )
    for field in REMOVED:
        levels = getattr(plan, field)
        if levels and len(levels) != plan.layers:
            raise UserError(
                f"`{field}` must have {plan.layers} entries, one a block. "
                f"Received: {len(levels)}"
            )
        for index, level in enumerate(levels):
            _check_level(level, f"`{field}` of block {index}")


def _is_whole(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _check_level(level, what):
    """Raises a `UserError` unless a level is a fraction that leaves some."""
    if not isinstance(level, numbers.Real) or not 0.0 <= level < 1.0:
        raise UserError(f"{what} must be in [0, 1). Received: {level!r}")
