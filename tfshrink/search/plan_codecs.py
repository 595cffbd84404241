"""Codecs of the K/V caches that plans name, opened once each."""

import numpy as np

from tfshrink.errors import UserError
from tfshrink.evaluation.kv_cost import block_state_bytes
from tfshrink.evaluation.kv_cost import kv_cost
from tfshrink.kv_spec import KVSpec
from tfshrink.models.kv_codecs import check_spec
from tfshrink.models.kv_codecs import open_codecs
from tfshrink.search.settings import KV_LENGTH


class PlanCodecs:
    """Opens what the `kv` of plans asks for, and prices it.

    Args:
        candidate: `Candidate`.
        lengths: Tokens of the prompts that plans are judged on, `(N,)`.
        length: Cached tokens that rates and bytes are of; where the model's
            context is shorter, that.

    Example:
        >>> codecs = PlanCodecs(candidate, prompts.lengths)
        >>> judge.measure(plan_tensor(config, plan), codecs(plan.kv))
    """

    def __init__(self, candidate, lengths, length=KV_LENGTH):
        self.source = candidate.source
        self.config = candidate.source.config
        self.sorted = any(plan.removes for plan in candidate.plans)
        self.lengths = np.asarray(lengths)
        self.length = min(length, self.config.context)
        self._codecs = {}
        self._costs = {}
        self._blocks = {}

    def check(self, kv):
        """Raises a `UserError` where a codec cannot be judged.

        Args:
            kv: As `Plan.kv`.
        """
        if kv is None:
            return
        spec = KVSpec.from_json(kv)
        check_spec(spec, self.config, self.length)
        if spec.codec == "identity":
            return
        if spec.codec == "pca" and self.sorted:
            raise UserError(
                "`kv` must not be pca where heads may go: its bases are of "
                f"heads in their first order. Received: {spec}"
            )
        least, most = _exact(spec) + 1, int(self.lengths.max())
        if most < least:
            raise UserError(
                f"`tokens` must be at least {least} for kv {spec}: up to "
                "window + block tokens nothing is coded. Received: prompts of "
                f"at most {most} tokens"
            )

    def __call__(self, kv):
        """The `BlockCodecs` of a `Plan.kv`; `None` where nothing is coded."""
        if kv is None:
            return None
        spec = KVSpec.from_json(kv)
        if spec not in self._codecs:
            self.check(kv)
            self._codecs[spec] = open_codecs(spec, self.source, self.length)
        return self._codecs[spec]

    def cost(self, plan):
        """What the cache of a plan costs; nothing where it names none.

        Returns:
            A dict of `kv_cost` at `kv_length` tokens, and `kv_seen`: the share
            of the prompts' tokens that see something coded.
        """
        if plan.kv is None:
            return {}
        spec = KVSpec.from_json(plan.kv)
        if spec not in self._costs:
            codecs, seen = self(plan.kv), 0.0
            if codecs is not None:
                behind = np.maximum(self.lengths - _exact(spec), 0)
                seen = float(behind.sum() / self.lengths.sum())
            self._costs[spec] = {
                **kv_cost(self.config, plan, self.length, codecs),
                "kv_length": self.length,
                "kv_seen": seen,
            }
        return self._costs[spec]

    def block_bytes(self, plan):
        """Bytes that a token looks up in the cache of each block: `(L,)`.

        The cache of `kv_length` tokens and the block's bases; zeros of a plan
        that names none.
        """
        if plan.kv is None:
            return np.zeros(self.config.layers)
        spec = KVSpec.from_json(plan.kv)
        if spec not in self._blocks:
            codecs = self(plan.kv)
            found = block_state_bytes(self.config, self.length, codecs)
            for index, codec in enumerate(codecs.codecs if codecs else ()):
                found[index] += codec.table_bytes if codec else 0
            self._blocks[spec] = np.array(found)
        return self._blocks[spec]


def _exact(spec):
    """Tokens of a sequence before one sees another coded."""
    return spec.window + spec.block
