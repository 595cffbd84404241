"""Everything a search depends on, with its defaults."""

import dataclasses

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.plan_checks import check_bits

METHODS = ("greedy", "pareto", "progressive")
METRICS = ("f1", "perplexity", "stl")
SCOPES = ("global", "layer")
SAMPLERS = ("gp", "nsga2", "random", "tpe")
OBJECTIVES = {
    "bytes": "what ships, bytes",
    "scaled_flops": "TOGGLE's cost a token: FLOPs x bits/16 x what is kept",
    "bit_operations": "MACs x bits of both operands, a token",
    "latency": "seconds a decoded token, from measured times of its products",
    "margin": "how little the requirement is exceeded by, the worst prompt's",
    "kl": "mean divergence from the reference, nats",
    "perplexity": "of the prompts",
}


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
        metric: What greedy and progressive hold to: `stl`, `perplexity` or
            `f1`.
        budget: Of the metric: the least margin, the share by which perplexity
            may rise, or the points that F1 may fall.
        f1_data: SQuAD through TFDS, or its official JSON file, for `f1`.
        f1_questions: Questions of it.
        objectives: What pareto makes small, comma-separated, of `OBJECTIVES`.
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
    metric: str = "stl"
    budget: float = 0.0
    f1_data: str = "squad"
    f1_questions: int = 48
    objectives: str = "bytes,margin"
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
        for name in ("iterations", "prompts", "tokens", "f1_questions"):
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
        for level in self.pruning_levels:
            if not 0.0 < level < 1.0:
                raise UserError(
                    f"`pruning` must hold levels in (0, 1). Received: {level}"
                )
        for name in ("bits", "embedding_bits"):
            self.widths(name)

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
        return [name for name in self.objectives.split(",") if name]

    def to_json(self):
        """Returns a plain dict."""
        return dataclasses.asdict(self)
