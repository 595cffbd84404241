"""What a switchable layer is built for: the structure behind every plan."""

import dataclasses
import math
import numbers

from tfshrink.errors import UserError
from tfshrink.ops.quantize import WIDTHS

PLACEMENTS = ("side", "inside")
BANKS = ("none", "codes", "latent")
MOST_RANK = 1 << 16  # a damaged file may ask for any


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrecisionConfig:
    """Structure of the switchable layers; changing it means a new compile.

    Args:
        widths: Trained bit-widths, highest first.
        group: Inputs per scale at 4 bits and below, or 0 for one scale per
            output channel. Wider codes always have one per channel: that is
            what native int8 kernels hold.
        ranks: Adapter rank of each trained width; empty means no adapters.
        alpha: Adapter gain at 2 bits, that is alpha/r with the customary
            alpha = 2r; it halves with every two bits more.
        placement: `"side"` (beside the quantized product) or `"inside"`
            (Q(W + BA), merged exactly at export).
        bank: `"none"` (quantize the shared weights inside the step),
            `"codes"` (frozen int8 codes per trained width) or `"latent"`
            (trainable codes per trained width).
        bank_widths: Trained widths with a bank; the others quantize the
            shared weights. `None` means all of `widths`.
        activations: 8 for dynamic int8 inputs, or 0 for float.
    """

    widths: tuple = (8, 4, 2)
    group: int = 64
    ranks: tuple = (16, 32, 64)
    alpha: float = 2.0
    placement: str = "side"
    bank: str = "none"
    bank_widths: tuple | None = None
    activations: int = 0

    def __post_init__(self):
        for name in ("widths", "ranks", "bank_widths"):
            value = getattr(self, name)
            whole = isinstance(value, tuple) and all(map(_is_whole, value))
            if not whole and not (name == "bank_widths" and value is None):
                raise UserError(
                    f"`{name}` must be integers. Received: {value!r}"
                )
        if any(not 1 <= rank <= MOST_RANK for rank in self.ranks):
            raise UserError(
                f"`ranks` must lie in 1..{MOST_RANK}. Received: {self.ranks}"
            )
        real = isinstance(self.alpha, numbers.Real)
        if not real or not math.isfinite(self.alpha):
            raise UserError(
                f"`alpha` must be a finite number. Received: {self.alpha!r}"
            )
        for bits in self.widths:
            if bits not in WIDTHS:
                raise UserError(
                    "`widths` must hold bit-widths between 2 and 8. "
                    f"Received: {bits}"
                )
        if not _is_whole(self.group) or self.group < 0:
            raise UserError(
                "`group` must be 0 (per channel) or a number of inputs. "
                f"Received: {self.group}"
            )
        if self.ranks and len(self.ranks) != len(self.widths):
            raise UserError(
                "`ranks` must hold one rank per trained width "
                f"{self.widths}. Received: {self.ranks}"
            )
        if self.placement not in PLACEMENTS:
            raise UserError(
                f"`placement` must be one of {PLACEMENTS}. "
                f"Received: {self.placement!r}"
            )
        if self.bank not in BANKS:
            raise UserError(
                f"`bank` must be one of {BANKS}. Received: {self.bank!r}"
            )
        strangers = set(self.bank_widths or ()) - set(self.widths)
        if strangers:
            raise UserError(
                f"`bank_widths` must be some of `widths` {self.widths}. "
                f"Received: {self.bank_widths}"
            )
        if self.placement == "inside" and self.bank != "none":
            raise UserError(
                "`bank` must be 'none' with `placement='inside'`: adapters "
                f"inside the quantizer re-quantize. Received: {self.bank!r}"
            )
        if not _is_whole(self.activations) or self.activations not in (0, 8):
            raise UserError(
                "`activations` must be 0 (float) or 8 (dynamic int8). "
                f"Received: {self.activations}"
            )

    @property
    def banked(self):
        """Widths that have codes of their own."""
        if self.bank == "none":
            return ()
        return self.widths if self.bank_widths is None else self.bank_widths

    def group_of(self, bits):
        """Inputs per scale at `bits`, 0 for one per channel."""
        return self.group if bits <= 4 else 0

    def to_json(self):
        """Returns a plain dict that `from_json` accepts."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values):
        """Builds a config from the dict of `to_json`."""
        lists = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        return cls(**{**values, **lists})


def _is_whole(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
