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
from tfshrink.search.evaluation import Evaluation
from tfshrink.search.plan_codecs import PlanCodecs
from tfshrink.search.plan_exits import PlanExits
from tfshrink.search.settings import KV_LENGTH
from tfshrink.stl.plan_judge import check_observable
from tfshrink.stl.plan_judge import PlanJudge
from tfshrink.stl.reference import reference_run
from tfshrink.structure import plan_tensor

COSTS = ("bytes", "memory", "read_bytes", "scaled_flops", "bit_operations")


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
        exits: `PlanExits`: tokens of the prompts leave early by the policy of
            a plan that names one.

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
        self.exits = PlanExits(candidate, self.codecs)
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
        other.exits = self.exits
        return other

    def plan(self, bits, **fields):
        """A `Plan` of the candidate's structure.

        Args:
            bits: One bit-width a layer group.
            **fields: `pruning`, `heads`, `channels`, `kv`, `exit`, `name`.
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
        """`plan_cost` at the prompts' length, before the plan is run.

        A plan with a `kv` has the cost of that beside (`PlanCodecs.cost`), and
        `memory`: bytes of the weights, one sequence's cache and its bases. A
        plan of a model with exits has that of `PlanExits.cost`. How deep its
        tokens go is measured: under the plan once it was judged, before that
        under its policy with all weights in full precision.
        """
        if plan.hash in self._known:
            return self._known[plan.hash].cost
        return self._priced(plan, self._shares(plan.exit))

    def _shares(self, exit):
        """How many tokens leave where in full precision, as `PlanExits`."""
        if exit is None:
            return np.ones(1)
        whole = dataclasses.replace(self.uniform(16), exit=exit)
        return np.array(list(self(whole).cost["by_layer"].values()))

    def _priced(self, plan, shares):
        """The cost of a plan by which so many tokens leave at each exit."""
        cost = self.candidate.cost(plan, self.prompts.tokens.shape[1])
        cache, own = self.codecs.cost(plan), {}
        if self.candidate.exits is not None:
            own = self.exits.cost(plan, self.model, shares)
            size = cost["bytes"] + own["exit_bytes"]
            ratio = reference_bytes(self.config) / size
            cost = {**cost, **own, "bytes": size, "compression": ratio}
        if cache:
            parts = cost["bytes"], cache["kv_bytes"], cache["kv_table_bytes"]
            memory = sum(parts) + own.get("exit_kv_bytes", 0)
            cost = {**cost, **cache, "memory": memory}
        return cost

    @property
    def reference_cost(self):
        """Cost of the model as it is: no adapters, all at 16 bits."""
        length = self.prompts.tokens.shape[1]
        cost = plan_cost(self.config, self.uniform(16), context=length)
        # All parameters as 16-bit values, norms too.
        size = reference_bytes(self.config)
        cost = {**cost, "bytes": size, "compression": 1.0}
        if self.candidate.exits is not None:
            whole = self._priced(self.uniform(16), np.ones(1))
            cost["read_bytes"] = whole["read_bytes"]
        return cost

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
        exits = plan.exit and self.exits(plan.exit, self.model)
        bits = plan_tensor(self.config, plan)
        measure = self.judge.keep if keep else self.judge.measure
        found = self.evaluation(plan, measure(bits, codecs, exits))
        self.count += 1
        self._known[plan.hash] = found
        return found

    def adopt(self):
        """Keeps the run of the last plan: others begin behind it."""
        self.judge.adopt()

    def evaluation(self, plan, judgement):
        """What a judgement of a plan comes to."""
        mask = self.prompts.mask
        shares = self.exits.shares(judgement.exits, mask, plan.exit)
        return Evaluation(
            plan=plan,
            cost=self._priced(plan, shares),
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
