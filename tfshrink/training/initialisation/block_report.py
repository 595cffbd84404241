"""What initialising one block did."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockReport:
    """What initialising one block at one bit-width did.

    Args:
        block: Block name.
        bits: Bit-width.
        nearest: Relative squared error of the block's output, on the inputs
            it was initialised with, after rounding to nearest.
        rounded: The same after the codes were chosen (GPTQ, AWQ).
        error: The same in the end.
    """

    block: str
    bits: int
    nearest: float
    rounded: float
    error: float


def relative_error(output, wanted):
    """Squared error of a block's output relative to its variance."""
    return float(
        np.mean((output - wanted) ** 2)
        / np.mean((wanted - wanted.mean((0, 1))) ** 2)
    )
