"""Exit policies that plans name, opened once each, and what they save."""

import numpy as np

from tfshrink.errors import UserError
from tfshrink.evaluation.size import adapter_ranks
from tfshrink.evaluation.size import group_bytes
from tfshrink.evaluation.size import HALF
from tfshrink.exit_spec import ExitSpec
from tfshrink.exit_spec import NO_EXIT
from tfshrink.exits.choice import asked
from tfshrink.exits.choice import ExitCost
from tfshrink.exits.choice import reads_logits
from tfshrink.exits.leaving import Answers
from tfshrink.exits.leaving import check_one_pass
from tfshrink.exits.leaving import Leaving


class PlanExits:
    """Opens what the `exit` of plans asks for, and prices it.

    Args:
        candidate: `Candidate`.
        codecs: `PlanCodecs` of the same plans.

    Example:
        >>> exits = PlanExits(candidate, codecs)
        >>> leaving = exits(plan.exit, model)
        >>> found = judge.measure(bits, codecs(plan.kv), leaving)
        >>> shares = exits.shares(found.exits, prompts.mask, plan.exit)
        >>> exits.cost(plan, model, shares)["read_bytes"]
    """

    def __init__(self, candidate, codecs):
        self.config = candidate.source.config
        self.exits = candidate.exits
        self.ranks = adapter_ranks(candidate.precision)
        self.codecs = codecs
        self._answers = {}  # by exits in use
        self._leaving = {}
        self._counts = None

    def check(self, exit):
        """Raises a `UserError` where a policy cannot be judged.

        Args:
            exit: As `Plan.exit`.
        """
        if exit is None:
            return
        spec = ExitSpec.from_json(exit)
        if self.exits is None:
            raise UserError(
                "`exit` needs a run with exits, of bin/train "
                f"--style=early_exit. Received: {spec} for a model without"
            )
        check_one_pass(spec, self.exits)

    def __call__(self, exit, model):
        """The `Leaving` of a `Plan.exit`; `None` where nothing leaves.

        Args:
            exit: As `Plan.exit`.
            model: Built `Decoder` of the candidate.
        """
        if exit is None:
            return None
        spec = ExitSpec.from_json(exit)
        if spec not in self._leaving:
            self.check(exit)
            layers = self.layers(exit)
            if layers not in self._answers:
                self._answers[layers] = Answers(model, layers)
            self._leaving[spec] = Leaving(self._answers[layers], spec)
        return self._leaving[spec]

    def layers(self, exit):
        """Blocks behind which tokens may leave, in order."""
        if exit is None:
            return ()
        return ExitSpec.from_json(exit).layers_of(self.exits.layers)

    def shares(self, exits, mask, exit):
        """Share of the tokens that left at each exit, and at none.

        Args:
            exits: int32 `(N, T)`, of `Judgement`.
            mask: Boolean `(N, T)`: tokens that are no padding.
            exit: As `Plan.exit`.

        Returns:
            float64 `(E + 1,)` of the exits in use.
        """
        if exit is None:
            return np.ones(1)
        counts = np.bincount(exits[mask], minlength=len(self.layers(exit)) + 1)
        return counts / counts.sum()

    def cost(self, plan, model, shares):
        """What a token of a plan runs and reads, in the mean.

        Bytes are those of what ships: blocks and head as the plan has them,
        exits at 16 bits; and where the plan names a K/V cache, that of the
        blocks it runs. Tokens that wait for a deeper block go along with the
        one that needs it: their part is read once.

        Args:
            plan: `Plan`.
            model: Built `Decoder` of the candidate.
            shares: Of `shares`.

        Returns:
            Dict: `exit` (text), `exit_rate`, `layers` (mean blocks), `by_layer`
            (share of tokens by depth), `weights_read` (share of the full
            model's weights, as `choice.summary`), `read_bytes`, `exit_bytes`
            (what the exits weigh) and `exit_kv_bytes` (their own cache of one
            sequence, where the plan names one).
        """
        layers = self.layers(plan.exit)
        depths = np.array([*layers, self.config.layers])
        counts = self._counted(model)
        weights, text = np.array([counts.full]), NO_EXIT
        tests, proposals, own_cache = np.zeros(1), np.zeros(1), 0
        if plan.exit is not None:
            spec = ExitSpec.from_json(plan.exit)
            text = str(spec)
            places = [self.exits.layers.index(layer) for layer in layers]
            weights = counts.read(spec)[[*places, -1]]
            tests, proposals = asked(layers, reads_logits(spec))
            own_cache = self._cache_of_exit(plan)
        groups = group_bytes(self.config, plan, self.ranks)
        head = list(groups.values())[-1]
        read = np.append(0, np.cumsum(self._block_bytes(plan, groups)))[depths]
        read = read + tests * (HALF * counts.test + own_cache)
        read = read + proposals * self._proposal_bytes(head)
        read[-1] += head
        return {
            "exit": text,
            "exit_rate": float(1.0 - shares[-1]),
            "layers": float(shares @ depths),
            "by_layer": {
                str(depth): float(share)
                for depth, share in zip(depths, shares, strict=True)
            },
            "weights_read": float(shares @ weights / counts.full),
            "read_bytes": float(shares @ read),
            "exit_bytes": self._bytes(model, layers),
            "exit_kv_bytes": own_cache * len(layers),
        }

    def _counted(self, model):
        if self._counts is None:
            self._counts = ExitCost.of(model)
        return self._counts

    def _block_bytes(self, plan, groups):
        """Bytes of each block and of what it looks up in the cache."""
        own = np.array(list(groups.values())[: 4 * self.config.layers])
        return own.reshape(-1, 4).sum(axis=1) + self.codecs.block_bytes(plan)

    def _proposal_bytes(self, head):
        """Bytes that proposing candidates reads.

        Args:
            head: Bytes of the whole head.
        """
        rank, config = self.exits.rank, self.config
        if not rank:
            return head
        factors = HALF * rank * (config.width + config.vocabulary)
        return factors + self.exits.candidates * head / config.vocabulary

    def _cache_of_exit(self, plan):
        """Bytes of the cache of an exit's own blocks, which is exact."""
        if plan.kv is None:
            return 0
        token = 2 * HALF * self.config.kv_heads * self.config.head_dim
        return self.exits.blocks * token * self.codecs.length

    def _bytes(self, model, layers):
        """Bytes of exits at 16 bits, those in use alone."""
        if not layers:
            return 0
        pairs = zip(self.exits.layers, model.exit_heads, strict=True)
        used = [head for layer, head in pairs if layer in layers]
        if model.light_head is not None:
            used.append(model.light_head)
        sizes = [int(np.prod(v.shape)) for x in used for v in x.variables]
        return HALF * sum(sizes)
