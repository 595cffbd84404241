"""How a plan shrinks the K/V cache, as data."""

import dataclasses
import numbers
import re

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError

CODECS = {
    "identity": "keys and values as they are, 16 bits",
    "int8": "codes along time (keys) and channels (values), as KIVI's",
    "int4": "the same at 4 bits",
    "int2": "the same at 2 bits",
    "dct": "cosines along time, gains of their own in each block",
    "pswf": "prolate sequences (DPSS) along time, the same",
    "channel": "cosines across the channels of a head, some kept",
    "pca": "principal components of all heads, bits by error (calibrated)",
}
RATED = ("channel", "dct", "pca", "pswf")  # those that take a rate
LAYERS = ("all", "first_half", "second_half", "even", "odd")
METHODS = ("per_vector", "layer_wise")  # of `channel`
SELECTS = ("topk", "lowpass")
RATED_LENGTH = 2048  # cached tokens of a rate where nothing else says
MOST = 1e6  # above any rate, or bits of a number, that means something
WIDE = 6.0  # from this rate on the exact part is int8


@dataclasses.dataclass(frozen=True, kw_only=True)
class KVSpec:
    """Codec of the K/V cache and its options.

    Args:
        codec: One of `CODECS`.
        rate: How many times smaller than 16 bits the whole cache is to be at
            the cached length in use, exact part and scales included; `None`
            with `bits`.
        bits: Bits of a coded number instead, its share of gains included.
        block: Tokens that are coded together.
        window: Last tokens that stay exact, at least.
        sinks: First tokens that stay exact.
        exact: Bits of the exact part, 16 or 8; `None` is 16, and 8 from a rate
            of 6 on.
        length: Cached tokens that the rate is of; `None` is as many as the
            cache in use may hold.
        rotated: Whether keys are coded after RoPE.
        calibration: Of `pca`: file of `bin/calibrate`; `None` is statistics on
            the default text, measured once and kept.
        method: Of `channel`: which coefficients stay is decided for each vector
            (`"per_vector"`, the default) or for a whole block of tokens
            (`"layer_wise"`).
        select: Of `channel`: the largest coefficients stay (`"topk"`, the
            default) or the first (`"lowpass"`).
        layers: One of `LAYERS`, or block numbers such as `"0,1,2"`; the others
            keep everything.

    Raises:
        UserError: A value is out of range.

    Example:
        >>> KVSpec.parse("pca:4x:layers=even").rate
        4.0
    """

    codec: str
    rate: float | None = None
    bits: float | None = None
    block: int = 64
    window: int = 64
    sinks: int = 4
    exact: int | None = None
    length: int | None = None
    rotated: bool = False
    calibration: str | None = None
    method: str | None = None
    select: str | None = None
    layers: str = "all"

    def __post_init__(self):
        self._check_kinds()
        if self.codec not in CODECS:
            raise unknown_choice("kv", self.codec, CODECS)
        rated = self.codec in RATED
        given = [x for x in (self.rate, self.bits) if x is not None]
        if len(given) != rated:
            wanted = "a rate (4x) or bits=3" if rated else "no rate"
            raise UserError(
                f"`kv` {self.codec} must have {wanted}. "
                f"Received: {given or 'none'}"
            )
        least = {"block": 8, "window": 0, "sinks": 0}
        if self.length is not None:
            least["length"] = 1
        for name, low in least.items():
            value = getattr(self, name)
            whole = isinstance(value, numbers.Integral)
            if not whole or isinstance(value, bool) or value < low:
                raise UserError(
                    f"`kv` {name} must be an integer, at least {low}. "
                    f"Received: {value!r}"
                )
        for value in given:
            real = isinstance(value, numbers.Real)
            if not real or isinstance(value, bool) or not 0 < value < MOST:
                raise UserError(
                    f"`kv` rate and bits must be positive. Received: {value!r}"
                )
        if self.exact not in (None, 8, 16):
            raise UserError(
                f"`kv` exact must be 8 or 16 bits. Received: {self.exact!r}"
            )
        if self.calibration is not None and self.codec != "pca":
            raise UserError(
                "`kv` calibration must be left out but for pca. "
                f"Received: {self.codec} with {self.calibration!r}"
            )
        for name, choices in (("method", METHODS), ("select", SELECTS)):
            value = getattr(self, name)
            if value is None:
                continue
            if self.codec != "channel":
                raise UserError(
                    f"`kv` {name} must be left out but for channel. "
                    f"Received: {self.codec} with {value!r}"
                )
            if value not in choices:
                raise unknown_choice(f"kv {name}", value, choices)
        self._check_layers()

    def _check_kinds(self):
        for name in ("codec", "layers", "calibration", "method", "select"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise UserError(
                    f"`kv` {name} must be text. Received: {value!r}"
                )
        if not isinstance(self.rotated, bool):
            raise UserError(
                "`kv` rotated must be true or false. "
                f"Received: {self.rotated!r}"
            )

    def _check_layers(self):
        layers = self.layers or ""
        if layers in LAYERS or re.fullmatch(r"\d{1,9}(,\d{1,9})*", layers):
            return
        raise UserError(
            f"`kv` layers must be one of {', '.join(LAYERS)}, or block numbers "
            f"such as 0,1,2. Received: {self.layers!r}"
        )

    @classmethod
    def parse(cls, text):
        """Reads `"pca:4x:block=64:window=64:sinks=4:layers=even"`."""
        codec, *parts = str(text).strip().split(":")
        values = {}
        for part in parts:
            name, _, value = part.partition("=")
            if not value and re.fullmatch(r"[\d.]+x", name):
                name, value = "rate", name[:-1]
            try:
                values[name] = KINDS[name](value)
            except (KeyError, ValueError):
                raise UserError(
                    "`kv` must be a codec with a rate such as 4x, or with "
                    f"{', '.join(KINDS)} behind colons, as in "
                    f"pca:4x:layers=even. Received: {part!r}"
                ) from None
        return cls(codec=codec, **values)

    def __str__(self):
        parts = [self.codec]
        if self.rate is not None:
            parts.append(f"{self.rate:.3g}x")
        for field in dataclasses.fields(self)[2:]:
            value = getattr(self, field.name)
            if value != field.default:
                text = f"{value:g}" if field.name == "bits" else value
                text = str(text).lower()
                parts.append(f"{field.name}={text}")
        return ":".join(parts)

    def to_json(self):
        """Returns a plain dict."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values, source="kv"):
        """Builds a spec from the dict of `to_json`."""
        if not isinstance(values, dict):
            raise UserError(f"`{source}` must be a dict. Received: {values!r}")
        fields = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - fields)
        if unknown or "codec" not in values:
            raise UserError(
                f"`{source}` must have a codec and may have "
                f"{', '.join(sorted(fields - {'codec'}))}. "
                f"Received: {', '.join(map(str, values)) or 'nothing'}"
            )
        return cls(**values)

    @property
    def exact_dtype(self):
        """Storage type of the exact part."""
        own = self.exact or (8 if (self.rate or 0) >= WIDE else 16)
        return "int8" if own == 8 else "bfloat16"

    def coded_layers(self, layers):
        """Which of so many blocks are coded: a list of booleans.

        Raises:
            UserError: A block that is not there.
        """
        half = layers // 2
        chosen = {
            "all": range(layers),
            "first_half": range(half),
            "second_half": range(half, layers),
            "even": range(0, layers, 2),
            "odd": range(1, layers, 2),
        }.get(self.layers)
        if chosen is None:
            chosen = [int(part) for part in self.layers.split(",")]
            missing = [index for index in chosen if index >= layers]
            if missing:
                raise UserError(
                    f"`kv` layers must be below {layers}, the blocks of the "
                    f"model. Received: {missing[0]}"
                )
        return [index in chosen for index in range(layers)]


KINDS = {
    "rate": float,
    "bits": float,
    "block": int,
    "window": int,
    "sinks": int,
    "exact": int,
    "length": int,
    "rotated": lambda text: {"true": True, "false": False}[text.lower()],
    "calibration": str,
    "method": str,
    "select": str,
    "layers": str,
}
