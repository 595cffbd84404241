"""The plan: everything about how a model is shrunk, as data."""

import dataclasses
import hashlib
import json
import numbers
import pathlib
import re

from tfshrink.errors import DAMAGE
from tfshrink.errors import UserError
from tfshrink.exit_spec import ExitSpec
from tfshrink.kv_spec import KVSpec
from tfshrink.layer_groups import block_name
from tfshrink.layer_groups import group_names
from tfshrink.plan_checks import check_bits
from tfshrink.plan_checks import check_layers
from tfshrink.plan_checks import check_plan
from tfshrink.plan_checks import REMOVED

HALVES = ("attn_bits", "mlp_bits")  # the seeds' terms
OUTER_BITS = 8  # embedding and head, unless a plan names them
NUMBER = r"\d{1,9}"  # Python reads no numbers of thousands of digits
VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Bits, group size and pruning of every layer group, K/V codec, exit.

    Args:
        bits: Bit-width of each layer group, in the order of `group_names`.
        layers: Number of blocks.
        tied: Whether head and embedding are one group.
        group: Inputs per scale at 4 bits and below; 0 is one scale per output
            channel.
        pruning: Fraction of weights removed from each layer group by
            magnitude, or empty.
        sparsity: `"unstructured"`, or `"2:4"`: two of any four inputs in a row,
            wherever `pruning` is .5.
        heads: Fraction of the attention heads removed from each block, or one
            for all blocks, or empty.
        channels: The same of the channels between the MLP's two layers.
        activations: 8 for dynamic int8 activations, 0 for float.
        kv: K/V codec and its options as the dict of `KVSpec`, or `None` for
            exact.
        exit: Exit policy as the dict of `ExitSpec` or as its text
            (`"classifier:.9"`), or `None` for all blocks.
        name: Shown in tables.

    Raises:
        UserError: for a wrong number of groups, an unknown bit-width, a
            level outside [0, 1) or pruning at 2 bits.

    Example:
        >>> Plan.parse("stripe-8-4", layers=2).bits
        (4, 8, 4, 8, 4, 8, 4, 8, 8)
    """

    bits: tuple
    layers: int
    tied: bool = True
    group: int = 64
    pruning: tuple = ()
    sparsity: str = "unstructured"
    heads: tuple = ()
    channels: tuple = ()
    activations: int = 0
    kv: dict | None = None
    exit: dict | None = None
    name: str = "plan"

    def __post_init__(self):
        for name in REMOVED:
            level = getattr(self, name)
            if isinstance(level, numbers.Real):  # one for all blocks
                one = isinstance(self.layers, numbers.Integral)
                levels = (level,) * (self.layers if one else 1)
                object.__setattr__(self, name, levels)
        if isinstance(self.exit, str):
            spec = ExitSpec.parse(self.exit)
            object.__setattr__(self, "exit", spec.to_json())
        check_plan(self)
        # One form of equal plans: what is hashed and compared is the same.
        object.__setattr__(self, "bits", tuple(map(int, self.bits)))
        for name in ("pruning", *REMOVED):
            levels = tuple(map(float, getattr(self, name)))
            object.__setattr__(self, name, levels if any(levels) else ())
        if not self.pruning:
            object.__setattr__(self, "sparsity", "unstructured")
        if self.kv is not None:
            spec = KVSpec.from_json(self.kv)
            spec.coded_layers(self.layers)
            object.__setattr__(self, "kv", spec.to_json())
        if self.exit is not None:
            spec = ExitSpec.from_json(self.exit)
            object.__setattr__(self, "exit", spec.to_json())

    @property
    def names(self):
        """Layer groups in model order."""
        return group_names(self.layers, self.tied)

    @property
    def removes(self):
        """Whether heads or channels go."""
        return bool(self.heads or self.channels)

    def as_dict(self):
        """Bit-width by layer group."""
        return dict(zip(self.names, self.bits, strict=True))

    def layer_precision(self):
        """The seeds' view: `[{"attn_bits", "mlp_bits"}, ...]` per block.

        A value is an integer, or a pair where the two layer groups of that
        half differ.
        """
        rows = []
        for index in range(self.layers):
            own = self.bits[4 * index : 4 * index + 4]
            halves = [own[:2], own[2:]]
            attention, mlp = (h[0] if h[0] == h[1] else h for h in halves)
            rows.append({"attn_bits": attention, "mlp_bits": mlp})
        return rows

    @classmethod
    def from_layer_precision(cls, rows, **kwargs):
        """Builds a plan from `[{"attn_bits": 8, "mlp_bits": 4}, ...]`."""
        bits = []
        for row in rows:
            if not isinstance(row, dict) or set(row) != set(HALVES):
                raise UserError(
                    "`layer_precision` must hold dicts with attn_bits and "
                    f"mlp_bits. Received: {row}"
                )
            for key in HALVES:
                value = row[key]
                pair = (
                    value if isinstance(value, (tuple, list)) else [value] * 2
                )
                if len(pair) != 2:
                    raise UserError(
                        f"`{key}` must be a bit-width, or one each for the "
                        f"two groups of its half. Received: {value}"
                    )
                bits += pair
        kwargs.setdefault("layers", len(rows))
        return cls.from_block_bits(bits, **kwargs)

    @classmethod
    def from_block_bits(cls, bits, *, layers, tied=True, **kwargs):
        """Builds a plan from one bit-width a block group.

        Embedding and head stay at 8 bits (full precision in an all-full
        plan) unless `bits` names them behind the block groups.
        """
        bits = list(bits)
        wanted = len(group_names(layers, tied))
        for value in bits:
            check_bits(value, "plan")
        if bits and len(bits) == 4 * layers:
            outer = max(bits) if min(bits) >= 16 else OUTER_BITS
            bits += [outer] * (wanted - len(bits))
        if len(bits) != wanted:
            raise UserError(
                f"`plan` must have {4 * layers} bit-widths, one a block "
                f"group of {layers} blocks, or {wanted} with embedding and "
                f"head. Received: {len(bits)}"
            )
        return cls(bits=tuple(bits), layers=layers, tied=tied, **kwargs)

    @classmethod
    def parse(cls, text, *, layers, tied=True, **kwargs):
        """Reads what `--plan` takes.

        Args:
            text: An integer (`"8"`), a comma list with one entry per block
                group, a pattern (`"stripe-8-4"`) or a path to a JSON file.
                Behind any but the last, fractions to remove from every block
                and the bits of what is outside of blocks:
                `"4:channels=.1:heads=.33:embedding=4"`. `pruning=.3` prunes
                single weights of all blocks, `pruning=2of4` in that pattern.
            layers: Number of blocks of the model.
            tied: Whether its head is tied.
            **kwargs: Further fields, where `text` is no file.

        Returns:
            A `Plan`.
        """
        text = str(text).strip()
        if text.endswith(".json"):
            plan = cls.load(text)
            if (plan.layers, plan.tied) != (layers, tied):
                raise UserError(
                    f"`plan` {text} is for {len(plan.bits)} layer groups, the "
                    f"model has {len(group_names(layers, tied))}"
                )
            return plan
        text, *parts = text.split(":")
        short = text if len(text) < 24 else "bitmap"
        kwargs.setdefault("name", ":".join([short, *parts]))
        options = _options(parts)
        kwargs.update({k: options[k] for k in REMOVED if k in options})
        if "pruning" in options:
            level, kwargs["sparsity"] = options["pruning"]
            outside = 1 if tied else 2
            kwargs["pruning"] = (level,) * (4 * layers) + (0.0,) * outside
        stripe = re.fullmatch(rf"stripe-({NUMBER})-({NUMBER})", text)
        if stripe:
            low, high = sorted(map(int, stripe.groups()))
            bits = [low, high] * (2 * layers)
        elif re.fullmatch(NUMBER, text):
            bits = [int(text)] * (4 * layers)
        elif re.fullmatch(rf"{NUMBER}(\s*,\s*{NUMBER})+", text):
            bits = [int(part) for part in text.split(",")]
        else:
            raise UserError(
                "`plan` must be an integer, a comma list with one bit-width "
                "per block group, a pattern such as stripe-8-4 or a .json "
                f"file. Received: {text!r}"
            )
        plan = cls.from_block_bits(bits, layers=layers, tied=tied, **kwargs)
        if "head" in options and tied:
            raise UserError(
                "`plan` must not name the head of a model whose head is its "
                f"embedding. Received: {':'.join(parts)!r}"
            )
        own = {name: options.get(name, b) for name, b in plan.as_dict().items()}
        return dataclasses.replace(plan, bits=tuple(own.values()))

    def to_json(self):
        """Returns the JSON form, a plain dict."""
        values = dataclasses.asdict(self)
        values["bits"] = self.as_dict()
        for field, names in _keys(self.layers, self.tied).items():
            levels = zip(names, getattr(self, field), strict=False)
            values[field] = {name: level for name, level in levels if level}
        return {"version": VERSION, **values}

    @classmethod
    def from_json(cls, values, source="plan"):
        """Builds a plan from its JSON form.

        Args:
            values: The dict of `to_json`.
            source: Named in errors.
        """
        try:
            values = dict(values)
            version = values.pop("version", VERSION)
            check_layers(values["layers"])
            keys = _keys(values["layers"], values.get("tied", True))
            names = keys["pruning"]
            bits = dict(values["bits"])
            levels = {name: dict(values.get(name) or {}) for name in keys}
            strangers = sorted(set(bits) - set(names))
            for field, own in keys.items():
                strangers += sorted(set(levels[field]) - set(own))
            missing = [name for name in names if name not in bits]
            fields = {field.name for field in dataclasses.fields(cls)}
            unknown = sorted(set(values) - fields)
        except DAMAGE as error:
            raise UserError(
                f"`{source}` must be the JSON form of a plan (layers, bits by "
                f"layer group). Received: {type(error).__name__}: {error}"
            ) from error
        if version != VERSION or unknown or strangers or missing:
            wrong = unknown or strangers or missing or [f"version {version}"]
            wrong = ", ".join(map(str, wrong[:3]))
            raise UserError(
                f"`{source}` must name every layer group of {values['layers']} "
                f"blocks and no other field. Wrong: {wrong}"
            )
        values["bits"] = tuple(bits[name] for name in names)
        for field, own in keys.items():
            given = levels[field]
            values[field] = tuple(given.get(name, 0.0) for name in own)
        return cls(**values)

    def save(self, path):
        """Writes the JSON form, whole or not at all."""
        from tfshrink.files import write_json

        write_json(path, self.to_json())

    @classmethod
    def load(cls, path):
        """Reads a file of `save`.

        A calibration of its `kv` may lie beside it.

        Raises:
            UserError: naming the file, when it is missing or no plan.
        """
        try:
            values = json.loads(pathlib.Path(path).read_text("utf-8"))
        except (OSError, *DAMAGE) as error:
            raise UserError(
                f"`plan` must be a readable JSON file. Received: {path} "
                f"({error})"
            ) from error
        own = cls.from_json(values, source=str(path))
        name = (own.kv or {}).get("calibration")
        beside = pathlib.Path(path).parent / (name or "")
        if name and beside.is_file():
            kv = {**own.kv, "calibration": str(beside)}
            own = dataclasses.replace(own, kv=kv)
        return own

    @property
    def hash(self):
        """Hexadecimal digest of everything but the name."""
        values = self.to_json()
        values.pop("name")
        if not self.pruning:  # then the pattern says nothing
            values.pop("sparsity")
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _options(parts):
    """`["heads=.33", "embedding=4"]` as `{"heads": .33, "embedding": 4}`."""
    kinds = {
        **dict.fromkeys(REMOVED, float),
        "embedding": int,
        "head": int,
        "pruning": _pruning,
    }
    options = {}
    for part in parts:
        name, _, value = part.partition("=")
        try:
            options[name] = kinds[name](value)
        except (KeyError, ValueError):
            raise UserError(
                "`plan` must have heads=FRACTION, channels=FRACTION, "
                "pruning=FRACTION (or 2of4), embedding=BITS or head=BITS "
                "behind a colon. "
                f"Received: {part!r}"
            ) from None
    return options


def _pruning(value):
    """`".3"` or `"2of4"` as level and sparsity."""
    if value == "2of4":
        return 0.5, "2:4"
    return float(value), "unstructured"


def _keys(layers, tied):
    """Fields with levels to the names that they have levels for."""
    blocks = [block_name(index, layers) for index in range(layers)]
    names = group_names(layers, tied)
    return {"pruning": names, **dict.fromkeys(REMOVED, blocks)}


def parse_plans(text, **kwargs):
    """Reads several plans: short forms or files split by `;` or spaces."""
    parts = [part for part in re.split(r"[;\s]+", str(text)) if part]
    if not parts:
        raise UserError("`plans` must name at least one plan. Received: ''")
    return [Plan.parse(part, **kwargs) for part in parts]
