"""What a search may choose: levels of variables, and the plans they make."""

import dataclasses

import numpy as np

from tfshrink.errors import UserError
from tfshrink.layer_groups import BLOCK_GROUPS
from tfshrink.layer_groups import block_name
from tfshrink.layer_groups import group_names

FRACTIONS = (0.0, 0.1, 0.2, 0.34)  # of channels, and of heads, that may go
GUESS = 0.01  # nats from one K/V codec, or exit policy, to the next
WHOLE = ("kv", "exit")  # kinds of one variable, each measured by itself


@dataclasses.dataclass(frozen=True)
class Variable:
    """One thing to choose.

    Args:
        kind: `"bits"`, `"pruning"`, `"heads"`, `"channels"`, `"kv"` or
            `"exit"`.
        place: The layer group, or block, that it is of; `"cache"`, `"tokens"`.
        options: Values, the least compressed first.
    """

    kind: str
    place: str
    options: tuple

    @property
    def name(self):
        return f"{self.kind}/{self.place}"


class SearchSpace:
    """The variables of a model, in model order.

    A point is a tuple with one level a variable: the number of its option.

    Args:
        config: `DecoderConfig`.
        bits: Bit-widths of the block groups, most first.
        outer: Bit-widths of embedding and head.
        pruning: Levels beside 0 of the block groups.
        scope: Function of a level to the levels of all groups, which makes one
            variable of them; `None` is one variable a group.
        structured: Whether heads and channels are variables too.
        kv: `KVSpec`s of the K/V cache, one variable; none leaves it out.
        exits: The same of `ExitSpec`s, or `None` for no policy.

    Attributes:
        alone: What each option of `kv` and of `exit` costs by itself, in nats,
            by kind: a guess until somebody measures it.
    """

    def __init__(
        self,
        config,
        bits,
        outer,
        *,
        pruning=(),
        scope=None,
        structured=False,
        kv=(),
        exits=(),
    ):
        self.config = config
        self._levels = {}  # of all groups, by the one level of a global scope
        self.groups = group_names(config.layers, config.tied)
        inside = [name for name in self.groups if name.startswith("block_")]
        self.variables = [
            Variable("bits", name, tuple(bits if name in inside else outer))
            for name in self.groups
        ]
        if pruning:
            if 2 in (*bits, *outer):
                raise UserError(
                    "`bits` must not hold 2 where weights are pruned: that "
                    f"grid has no zero. Received: {bits}"
                )
            levels = (0.0, *pruning)
            places = inside
            if scope is not None:
                self._levels = {level: scope(level) for level in pruning}
                self._levels[0.0] = (0.0,) * len(self.groups)
                places = ["all"]
            self.variables += [
                Variable("pruning", name, levels) for name in places
            ]
        if structured:
            self.variables += [
                Variable(kind, block_name(index, config.layers), FRACTIONS)
                for kind in ("heads", "channels")
                for index in range(config.layers)
            ]
        whole = ("kv", "cache", tuple(kv)), ("exit", "tokens", tuple(exits))
        self.variables += [Variable(*own) for own in whole if own[-1]]
        self.alone = {
            kind: GUESS * np.arange(len(options)) for kind, _, options in whole
        }

    def __len__(self):
        return len(self.variables)

    def options(self, kind):
        """The options of the one variable of a kind; empty where none is."""
        found = [one.options for one in self.variables if one.kind == kind]
        return found[0] if found else ()

    @property
    def start(self):
        """The least compressed point."""
        return (0,) * len(self)

    def fields(self, point):
        """What `Evaluator.plan` takes for a point: bits and other fields."""
        chosen = {}
        for variable, level in zip(self.variables, point, strict=True):
            chosen.setdefault(variable.kind, []).append(variable.options[level])
        bits = chosen.pop("bits")
        for kind in set(WHOLE) & set(chosen):
            (spec,) = chosen[kind]
            chosen[kind] = spec and spec.to_json()
        if self._levels:
            chosen["pruning"] = self._levels[chosen["pruning"][0]]
        elif "pruning" in chosen:
            missing = len(bits) - len(chosen["pruning"])
            chosen["pruning"] += [0.0] * missing
        return bits, chosen

    def random(self, random):
        """A point at which every level is as likely."""
        return tuple(
            int(random.integers(len(one.options))) for one in self.variables
        )

    def moved(self, point, place, by=1):
        """The point with one variable at another level, or `None`."""
        level = point[place] + by
        if not 0 <= level < len(self.variables[place].options):
            return None
        return (*point[:place], level, *point[place + 1 :])

    def components(self):
        """Variables of one kind of layer, as lists of their places."""
        found = {}
        for place, one in enumerate(self.variables):
            part = one.place.split("/")[-1]
            key = part if part in BLOCK_GROUPS else one.place.split("_")[0]
            found.setdefault((one.kind, key), []).append(place)
        return found

    def damage(self, sensitivity):
        """What each level of each variable costs by itself, in nats.

        Args:
            sensitivity: `Sensitivity`, or `None`.

        Returns:
            A list of arrays, one a variable; fewer bits where nothing is known.
        """
        known = {}
        for row in sensitivity.rows if sensitivity else ():
            if row["sparsity"] == "unstructured":
                key = row["group"], row["bits"], round(row["pruning"], 6)
                known[key] = max(0.0, row["kl"])
        found = []
        for one in self.variables:
            if one.kind in WHOLE:
                found.append(np.asarray(self.alone[one.kind]))
                continue
            own = []
            for option in one.options:
                if one.kind == "bits":
                    key, guess = (one.place, option, 0.0), 4.0 ** (2 - option)
                else:
                    key, guess = (one.place, 16, round(option, 6)), option**2
                full = key == (one.place, 16, 0.0)
                own.append(0.0 if full else known.get(key, guess))
            found.append(np.array(own))
        return found
