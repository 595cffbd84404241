"""One evaluator for every search: what a plan costs and what it leaves."""

import dataclasses
import functools
import pathlib

import numpy as np

from tfshrink.evaluation.cost import plan_cost
from tfshrink.evaluation.size import reference_bytes
from tfshrink.files import cache_folder
from tfshrink.files import sha256_file
from tfshrink.files import sha256_json
from tfshrink.models.run import FINAL
from tfshrink.plan import Plan
from tfshrink.search.plan_codecs import PlanCodecs
from tfshrink.search.settings import KV_LENGTH
from tfshrink.stl.plan_judge import check_observable
from tfshrink.stl.plan_judge import PlanJudge
from tfshrink.stl.reference import reference_run
from tfshrink.structure import plan_tensor

COSTS = ("bytes", "memory", "scaled_flops", "bit_operations")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What is known of one plan.

    Args:
        plan: `Plan`.
        cost: Dict of `Evaluator.cost`.
        margins: Dict of property to margins `(N,)`, one a prompt.
        means: Means over all tokens, as `Judgement.means`.
    """

    plan: Plan
    cost: dict
    margins: dict
    means: dict

    @property
    def worst(self):
        """Dict of property to its smallest margin over the prompts.

        What is no number satisfies nothing: minus infinity.
        """
        return {
            name: float(np.nan_to_num(np.min(values), nan=-np.inf))
            for name, values in self.margins.items()
        }

    @property
    def margin(self):
        """The smallest margin of all; from 0 on the plan is satisfied."""
        return min(self.worst.values())

    @property
    def violation(self):
        """How much all properties together lack; 0 if satisfied."""
        return sum(max(0.0, -value) for value in self.worst.values())

    @property
    def satisfied_share(self):
        """Share of the prompts that satisfy every property."""
        least = np.min(list(self.margins.values()), axis=0)
        return float(np.mean(least >= 0))

    def value(self, objective):
        """A number to minimise: a cost, or how little is left."""
        if objective == "margin":
            return -self.margin
        if objective in self.means:
            return self.means[objective]
        return self.cost[objective]

    def row(self):
        """One flat dict for tables and files."""
        return {
            "plan": self.plan.name,
            "hash": self.plan.hash,
            **self.cost,
            "margin": self.margin,
            "satisfied": self.margin >= 0,
            "satisfied_share": self.satisfied_share,
            **{f"margin_{name}": own for name, own in self.worst.items()},
            "perplexity": self.means["perplexity"],
            "mean_jsd": self.means["jsd"],
        }


class Evaluator:
    """Judges plans of one model or run against a requirement, each once.

    Args:
        candidate: `Candidate`: the model and its structure.
        prompts: `Prompts` of the search.
        requirement: `Requirement`.
        dtype: Compute type.
        more: Further signals to measure, as in `PlanJudge`.
        scales: How the scales of a model without a run were fitted; only told.
        cache: Folder of reference runs; `None` is the cache folder.
        kv_length: Cached tokens that the K/V codecs of plans are priced at.

    Attributes:
        count: Plans that were run.
        codecs: `PlanCodecs`: prompts are read through the cache of a plan that
            names one.

    Example:
        >>> evaluator = Evaluator(candidate, prompts, Requirement())
        >>> evaluator(evaluator.plan([4] * 120 + [8])).satisfied_share
    """

    def __init__(
        self,
        candidate,
        prompts,
        requirement,
        *,
        dtype="float32",
        more=(),
        scales=None,
        cache=None,
        kv_length=KV_LENGTH,
    ):
        check_observable(requirement)
        requirement.check_lengths(prompts.lengths)
        self.candidate = candidate
        self.config = candidate.source.config
        self.prompts = prompts
        self.requirement = requirement
        self.dtype = dtype
        self.scales = scales
        self.more = tuple({*more, *requirement.signals})
        self.cache = cache or cache_folder() / "references"
        self.codecs = PlanCodecs(candidate, prompts.lengths, kv_length)
        self.count = 0
        self._known = {}

    @functools.cached_property
    def reference(self):
        """The `Reference` of the prompts."""
        return reference_run(
            self.candidate.source,
            self.prompts,
            dtype=self.dtype,
            folder=self.cache,
        )

    @functools.cached_property
    def model(self):
        """The `Decoder`, loaded with the first plan."""
        self.reference  # noqa: B018  before it: never two models at once
        return self.candidate.load(self.dtype)

    @functools.cached_property
    def judge(self):
        """The `PlanJudge` behind all evaluations."""
        return PlanJudge(
            self.model, self.prompts, self.reference, more=self.more
        )

    def measuring(self, *more):
        """An evaluator of the same model that measures further signals."""
        other = Evaluator(
            self.candidate,
            self.prompts,
            self.requirement,
            dtype=self.dtype,
            more=(*self.more, *more),
            scales=self.scales,
            cache=self.cache,
        )
        other.model, other.codecs = self.model, self.codecs
        return other

    def plan(self, bits, **fields):
        """A `Plan` of the candidate's structure.

        Args:
            bits: One bit-width a layer group.
            **fields: `pruning`, `heads`, `channels`, `kv`, `name`.
        """
        precision = self.candidate.precision
        return Plan(
            bits=tuple(map(int, bits)),
            layers=self.config.layers,
            tied=self.config.tied,
            group=precision.group,
            activations=precision.activations,
            **fields,
        )

    def uniform(self, bits):
        """The plan with all layer groups at one bit-width."""
        outside = 1 if self.config.tied else 2
        return self.plan([bits] * (4 * self.config.layers + outside))

    @functools.cached_property
    def identity(self):
        """What results rest on: model, run, requirement, prompts."""
        return {
            "model": self.candidate.source.identity,
            "run": run_identity(self.candidate),
            **self.requirement.to_json(),
            "prompts": sha256_json(self.prompts.tokens),
            "text": self.prompts.identity,
            "dtype": self.dtype,
            "scales": self.scales,
            "group": self.candidate.precision.group,
            "activations": self.candidate.precision.activations,
        }

    def cost(self, plan):
        """`plan_cost` at the prompts' length, before anything is run.

        A plan with a `kv` has the cost of that beside (`PlanCodecs.cost`), and
        `memory`: bytes of the weights, one sequence's cache and its bases.
        """
        cost = self.candidate.cost(plan, self.prompts.tokens.shape[1])
        cache = self.codecs.cost(plan)
        if cache:
            parts = cost["bytes"], cache["kv_bytes"], cache["kv_table_bytes"]
            cost = {**cost, **cache, "memory": sum(parts)}
        return cost

    @property
    def reference_cost(self):
        """Cost of the model as it is: no adapters, all at 16 bits."""
        length = self.prompts.tokens.shape[1]
        cost = plan_cost(self.config, self.uniform(16), context=length)
        # All parameters as 16-bit values, norms too.
        size = reference_bytes(self.config)
        return {**cost, "bytes": size, "compression": 1.0}

    def __call__(self, plan, *, keep=False):
        """Evaluates a plan.

        Args:
            plan: `Plan`.
            keep: Keeps its run: plans that begin like it begin behind it.

        Returns:
            `Evaluation`.
        """
        if plan.hash in self._known and not keep:
            known = self._known[plan.hash]
            return dataclasses.replace(known, plan=plan)
        codecs = self.codecs(plan.kv)  # before the model: they may load one
        bits = plan_tensor(self.config, plan)
        measure = self.judge.keep if keep else self.judge.measure
        found = self.evaluation(plan, measure(bits, codecs))
        self.count += 1
        self._known[plan.hash] = found
        return found

    def adopt(self):
        """Keeps the run of the last plan: others begin behind it."""
        self.judge.adopt()

    def evaluation(self, plan, judgement):
        """What a judgement of a plan comes to."""
        return Evaluation(
            plan=plan,
            cost=self.cost(plan),
            margins=self.requirement.margins(
                judgement.signals, judgement.lengths
            ),
            means=judgement.means,
        )


def run_identity(candidate):
    """SHA-256 of a run's weights, or `None` of a model without a run."""
    if candidate.workdir is None:
        return None
    path = pathlib.Path(candidate.workdir) / "checkpoints" / FINAL
    return sha256_file(path)
