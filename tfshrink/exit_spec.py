"""When tokens leave a decoder early, as data."""

import dataclasses
import math
import numbers

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError

# Not imported from `ops.confidence`: a plan is read without Keras.
CONFIDENCES = (
    "classifier",
    "cosine",
    "entropy",
    "margin",
    "max",
    "multi_level",
)
POLICY = "policy"  # learned from what all of them say: an `ExitPolicy` file
MISSING = {
    "lazy": "keys and values of layers a token skipped are computed, exactly, "
    "when a later token goes that deep",
    "propagate": "the skipped layers' keys and values come from the state the "
    "token left with",
    "recompute": "every token runs through all layers (the slow reference)",
    "verify": "what leaves early is a draft; the full model confirms it",
}
HEADS = ("full", "light")
SCHEDULES = ("decay", "dynamic", "fixed")
GAIN = 0.05  # how far a token moves the thresholds of a target
NEVER = -1e9  # logit of a token that no exit proposes
NO_EXIT = "none"  # among policies to choose from: all blocks for everyone
# Name: (policy, where its values come from).
PRESETS = {
    "balanced": (
        "classifier:.8:schedule=decay",
        "a token that leaves is right 4 times in 5, its classifier says; "
        "CALM's decay",
    ),
    "conservative": (
        "classifier:.95",
        "as sure of every token as 95 % agreement asks",
    ),
    "toex": ("margin:.5", "ToExConfig: top1 - top2 above .5"),
    "ultra": (
        "multi_level:.15:margin=.12:schedule=dynamic:target=.9",
        "ToEx's ultra-optimized: .15 and margin .12, moved so that 90 % leave "
        "(it gives 85 to 95 %)",
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExitSpec:
    """Exit policy: which confidence must pass which threshold where.

    Args:
        confidence: One of `CONFIDENCES`, or `"policy"`.
        thresholds: What confidence must exceed, 0..1: one for all exits, or
            one each; at 1 nothing leaves.
        layers: Blocks behind which tokens may leave; empty is all the exits
            the model has.
        missing: One of `MISSING`: how layers that a token skipped get its keys
            and values.
        schedule: `"fixed"`; `"decay"` falls with the text made (`floor`,
            `rate`); `"dynamic"` moves all thresholds so that a share `target`
            of the tokens leaves.
        floor: Of `decay`: share of the threshold that is left in the end.
        rate: Of `decay`: how fast it falls.
        target: Of `dynamic`: share of tokens that shall leave.
        margin: Least top1 - top2 beside the confidence, 0..1.
        pending: Tokens that may wait for their deeper layers before the next
            one goes all the way (`lazy`), or longest draft (`verify`).
        head: What says the token of those that leave nowhere: `"full"`, or
            `"light"`, candidates as at an exit.
        weights: Of the confidence `"policy"`: its file, a path without colons.

    Raises:
        UserError: A value is out of range.

    Example:
        >>> ExitSpec.parse("margin:.8:layers=10,18").thresholds
        (0.8,)
    """

    confidence: str = "classifier"
    thresholds: tuple = (0.9,)
    layers: tuple = ()
    missing: str = "lazy"
    schedule: str = "fixed"
    floor: float = 0.9
    rate: float = 4.0
    target: float | None = None
    margin: float = 0.0
    pending: int = 8
    head: str = "full"
    weights: str = ""

    def __post_init__(self):
        for name in ("thresholds", "layers"):
            value = getattr(self, name)
            if isinstance(value, numbers.Real):
                value = (value,)
            if not isinstance(value, (tuple, list)):
                raise UserError(
                    f"`exit` {name} must be numbers. Received: {value!r}"
                )
            object.__setattr__(self, name, tuple(value))
        if not isinstance(self.weights, str):
            raise UserError(
                f"`exit` weights must be a path. Received: {self.weights!r}"
            )
        for name, choices in (
            ("confidence", (*CONFIDENCES, POLICY)),
            ("missing", tuple(MISSING)),  # what has no hash is in no dict
            ("schedule", SCHEDULES),
            ("head", HEADS),
        ):
            if getattr(self, name) not in choices:
                raise unknown_choice(
                    f"exit {name}", getattr(self, name), choices
                )
        if not self.thresholds:
            raise UserError("`exit` must have a threshold. Received: none")
        shares = [("threshold", value) for value in self.thresholds]
        shares += [("floor", self.floor), ("margin", self.margin)]
        if self.target is not None:
            shares.append(("target", self.target))
        for name, value in shares:
            if not _is_number(value) or not 0 <= value <= 1:
                raise UserError(
                    f"`exit` {name} must lie in 0..1. Received: {value!r}"
                )
        if not _is_number(self.rate) or self.rate < 0:
            raise UserError(
                f"`exit` rate must be at least 0. Received: {self.rate!r}"
            )
        if (self.schedule == "dynamic") != (self.target is not None):
            raise UserError(
                "`exit` must have a target with schedule=dynamic, and only "
                f"then. Received: schedule={self.schedule}, "
                f"target={self.target}"
            )
        if (self.confidence == POLICY) != bool(self.weights):
            raise UserError(
                "`exit` must have weights=FILE with policy, and only then. "
                f"Received: {self.confidence}, weights={self.weights!r}"
            )
        if self.head == "light" and self.missing == "verify":
            raise UserError(
                "`exit` missing=verify makes the full model's text and needs "
                f"head=full. Received: head={self.head}"
            )
        if not _is_count(self.pending) or self.pending < 1:
            raise UserError(
                "`exit` pending must be an integer, at least 1. "
                f"Received: {self.pending!r}"
            )
        self._check_layers()

    def _check_layers(self):
        for index in self.layers:
            if not _is_count(index) or index < 1:
                raise UserError(
                    "`exit` layers must be numbers of blocks, counted from 1. "
                    f"Received: {index!r}"
                )
        if list(self.layers) != sorted(set(self.layers)):
            raise UserError(
                f"`exit` layers must rise. Received: {_joined(self.layers)}"
            )
        count = len(self.thresholds)
        if self.layers and count not in (1, len(self.layers)):
            raise UserError(
                "`exit` must have one threshold, or one for each of its "
                f"{len(self.layers)} layers. Received: {count}"
            )

    @classmethod
    def parse(cls, text):
        """Reads `"margin:.8:layers=10,18"`, or `"ultra:pending=4"`.

        Args:
            text: A confidence or one of `PRESETS`; behind colons a threshold
                and other fields, which replace those of a preset.
        """
        first, *parts = str(text).strip().split(":")
        if first in PRESETS:
            first, *own = PRESETS[first][0].split(":")
            parts = own + parts
        elif first not in CONFIDENCES and first != POLICY:
            names = (*CONFIDENCES, POLICY, *PRESETS)
            raise unknown_choice("exit", first, names)
        values = {"confidence": first}
        for part in parts:
            name, _, value = part.partition("=")
            if not value:
                name, value = "thresholds", name
            try:
                values[name] = KINDS[name](value)
            except (KeyError, ValueError):
                raise UserError(
                    "`exit` must be a confidence and a threshold, with "
                    f"{', '.join(KINDS)} behind colons, as in "
                    f"margin:.8:layers=10,18. Received: {part!r}"
                ) from None
        return cls(**values)

    def __str__(self):
        parts = [self.confidence, _joined(self.thresholds)]
        for field in dataclasses.fields(self)[2:]:
            value = getattr(self, field.name)
            if value != field.default:
                if isinstance(value, tuple):
                    value = _joined(value)
                parts.append(f"{field.name}={value}")
        return ":".join(parts)

    def to_json(self):
        """Returns a plain dict."""
        values = dataclasses.asdict(self)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    @classmethod
    def from_json(cls, values, source="exit"):
        """Builds a spec from the dict of `to_json`."""
        if not isinstance(values, dict):
            raise UserError(f"`{source}` must be a dict. Received: {values!r}")
        fields = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - fields)
        if unknown:
            raise UserError(
                f"`{source}` must have no other fields than "
                f"{', '.join(sorted(fields))}. Received: {unknown[0]}"
            )
        return cls(**values)

    def layers_of(self, exits):
        """The layers in use of a model that has exits behind `exits`.

        Raises:
            UserError: A layer without an exit, a number of thresholds that
                does not fit.
        """
        for index in self.layers:
            if index not in exits:
                raise UserError(
                    "`exit` layers must be some of those the model has exits "
                    f"behind: {_joined(exits)}. Received: {index}"
                )
        layers = self.layers or tuple(exits)
        if len(self.thresholds) not in (1, len(layers)):
            raise UserError(
                "`exit` must have one threshold, or one for each of the "
                f"{len(layers)} exits. Received: {len(self.thresholds)}"
            )
        return layers

    def thresholds_of(self, exits):
        """One threshold for each of the model's exits; 1 where none is used."""
        layers = self.layers_of(exits)
        values = self.thresholds
        if len(values) == 1:
            values = values * len(layers)
        own = dict(zip(layers, values, strict=True))
        return tuple(own.get(index, 1.0) for index in exits)


def parse_exits(text):
    """Reads several policies split by `;`, each once.

    Returns:
        List of `ExitSpec`, `None` for `"none"`; empty of an empty text.
    """
    parts = [part.strip() for part in str(text).split(";") if part.strip()]
    found = [None if p == NO_EXIT else ExitSpec.parse(p) for p in parts]
    return list(dict.fromkeys(found))


def _is_number(value):
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and math.isfinite(value)


def _is_count(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _joined(values):
    return ",".join(f"{value:g}" for value in values)


def _numbers(kind):
    return lambda text: tuple(kind(part) for part in text.split(","))


KINDS = {
    "thresholds": _numbers(float),
    "layers": _numbers(int),
    "missing": str,
    "schedule": str,
    "floor": float,
    "rate": float,
    "target": float,
    "margin": float,
    "pending": int,
    "head": str,
    "weights": str,
}
