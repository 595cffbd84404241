"""What initialising one block did."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockReport:
    """What initialising one block at one bit-width did.

    Args:
        block: Block name.
        bits: Bit-width.
        error: Relative squared error of the block's output after
            initialisation, on the inputs the block was initialised with.
        before: The same with rounding alone inside this block.
    """

    block: str
    bits: int
    error: float
    before: float


def relative_error(output, wanted):
    """Squared error of a block's output relative to its variance."""
    return float(
        np.mean((output - wanted) ** 2)
        / np.mean((wanted - wanted.mean((0, 1))) ** 2)
    )
