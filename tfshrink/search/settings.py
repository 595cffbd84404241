"""Everything a search depends on, with its defaults."""

import dataclasses

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.exit_spec import parse_exits
from tfshrink.kv_spec import KVSpec
from tfshrink.plan_checks import check_bits

METHODS = ("greedy", "pareto", "progressive")
METRICS = ("f1", "perplexity", "stl")
SCOPES = ("global", "layer")
SAMPLERS = ("gp", "nsga2", "random", "tpe")
KV_LENGTH = 2048  # cached tokens that codecs are rated and priced at
OBJECTIVES = {
    "bytes": "what ships, bytes",
    "kv_bytes": "K/V cache of one sequence of --kv_length tokens, bytes",
    "memory": "the two and the bases of the codec together, bytes",
    "read_bytes": "weights and K/V cache that a token reads, bytes",
    "scaled_flops": "TOGGLE's cost a token: FLOPs x bits/16 x what is kept",
    "bit_operations": "MACs x bits of both operands, a token",
    "latency": "seconds a decoded token, from measured times of its products",
    "margin": "how little the requirement is exceeded by, the worst prompt's",
    "kl": "mean divergence from the reference, nats",
    "perplexity": "of the prompts",
}
OF_CACHE = ("kv_bytes", "memory")  # objectives of plans that name a cache
OF_EXITS = ("read_bytes",)  # of plans that tokens may leave early


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Settings of `search`; a field is a flag of `bin/search`.

    Args:
        method: One of `METHODS`.
        iterations: Plans to judge, at most; those of an earlier part of the
            same search count.
        bits: Bit-widths of the block groups, comma-separated, most first;
            empty takes the widths a run was trained for, or 8,6,5,4.
        embedding_bits: The same of embedding and head.
        pruning: Pruning levels beside 0; empty prunes nothing.
        pruning_scope: `layer` chooses a level for each layer group, `global`
            one threshold of magnitude for all.
        structured: Whether heads and MLP channels may go.
        kv: Codecs of the K/V cache to choose from, comma-separated
            (`KVSpec.parse`); empty leaves the cache out of it.
        kv_length: Cached tokens that their rates and bytes are of; where the
            model's context is shorter, that.
        exit: Exit policies of a run with exits to choose from, split by `;`
            (`ExitSpec.parse`, or `none`); empty leaves exits out of it.
        metric: What greedy and progressive hold to: `stl`, `perplexity` or
            `f1`.
        budget: Of the metric: the least margin, the share by which perplexity
            may rise, or the points that F1 may fall.
        f1_data: SQuAD through TFDS, or its official JSON file, for `f1`.
        f1_questions: Questions of it.
        objectives: What pareto makes small, comma-separated, of `OBJECTIVES`;
            empty is bytes,margin, with `kv` memory,margin, with `exit`
            read_bytes,margin.
        sampler: How pareto proposes plans, one of `SAMPLERS`.
        seeds: Plans of a knapsack that pareto begins with.
        prompts: Prompts that plans are judged on.
        tokens: Tokens of a prompt.
        seed: Of everything that is drawn.
    """

    method: str = "pareto"
    iterations: int = 400
    bits: str = ""
    embedding_bits: str = ""
    pruning: str = ""
    pruning_scope: str = "layer"
    structured: bool = False
    kv: str = ""
    kv_length: int = KV_LENGTH
    exit: str = ""
    metric: str = "stl"
    budget: float = 0.0
    f1_data: str = "squad"
    f1_questions: int = 48
    objectives: str = ""
    sampler: str = "nsga2"
    seeds: int = 24
    prompts: int = 16
    tokens: int = 64
    seed: int = 0

    def __post_init__(self):
        choices = {
            "method": METHODS,
            "metric": METRICS,
            "pruning_scope": SCOPES,
            "sampler": SAMPLERS,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise unknown_choice(name, getattr(self, name), allowed)
        counts = "iterations", "prompts", "tokens", "f1_questions", "kv_length"
        for name in counts:
            if getattr(self, name) < 1:
                raise UserError(
                    f"`{name}` must be at least 1. "
                    f"Received: {getattr(self, name)}"
                )
        for name in self.objective_names:
            if name not in OBJECTIVES:
                raise unknown_choice("objectives", name, OBJECTIVES)
        if not self.objective_names:
            raise UserError(
                f"`objectives` must name at least one of "
                f"{', '.join(OBJECTIVES)}. Received: none"
            )
        missing = [n for n in self.objective_names if n in OF_CACHE]
        if missing and not self.kv_specs:
            raise UserError(
                "`objectives` must not name what is of the K/V cache where "
                f"`kv` names no codec. Received: {', '.join(missing)}"
            )
        if self.kv_specs and self.metric == "f1":
            raise UserError(
                "`metric` must not be f1 where `kv` names codecs: answers are "
                f"made with the exact cache. Received: {self.kv}"
            )
        self._check_exits()
        for level in self.pruning_levels:
            if not 0.0 < level < 1.0:
                raise UserError(
                    f"`pruning` must hold levels in (0, 1). Received: {level}"
                )
        for name in ("bits", "embedding_bits"):
            self.widths(name)

    def _check_exits(self):
        """Raises a `UserError` for what exits are no part of."""
        named = [n for n in self.objective_names if n in OF_EXITS]
        if named and not self.exit_specs:
            raise UserError(
                "`objectives` must not name what exits save where `exit` names "
                f"no policy. Received: {', '.join(named)}"
            )
        if self.exit_specs and self.metric == "f1":
            raise UserError(
                "`metric` must not be f1 where `exit` names policies: answers "
                f"are made by all blocks. Received: {self.exit}"
            )
        if self.exit_specs and "latency" in self.objective_names:
            raise UserError(
                "`objectives` must not name latency where `exit` names "
                "policies: what is timed runs all blocks. Received: "
                f"{', '.join(self.objective_names)}"
            )

    def widths(self, name, default=()):
        """Bit-widths of a field, most first; the default where it is empty."""
        text = getattr(self, name)
        try:
            found = [int(part) for part in text.split(",") if part.strip()]
        except ValueError:
            raise UserError(
                f"`{name}` must be bit-widths such as 8,4. Received: {text!r}"
            ) from None
        for bits in found:
            check_bits(bits, name)
        return tuple(sorted(set(found or default), reverse=True))

    @property
    def pruning_levels(self):
        """Pruning levels beside 0, lowest first."""
        try:
            return sorted(float(p) for p in self.pruning.split(",") if p)
        except ValueError:
            raise UserError(
                "`pruning` must be levels such as .25,.5. "
                f"Received: {self.pruning!r}"
            ) from None

    @property
    def objective_names(self):
        """The objectives, as a list."""
        size = "memory" if self.kv_specs else "bytes"
        size = "read_bytes" if self.exit_specs else size
        names = (self.objectives or f"{size},margin").split(",")
        return [name for name in names if name]

    @property
    def kv_specs(self):
        """The `KVSpec`s of `kv`, each once."""
        parts = [part for part in self.kv.split(",") if part.strip()]
        return list(dict.fromkeys(map(KVSpec.parse, parts)))

    @property
    def exit_specs(self):
        """The `ExitSpec`s of `exit`, each once; `None` for none."""
        return parse_exits(self.exit)

    def to_json(self):
        """Returns a plain dict."""
        return dataclasses.asdict(self)
