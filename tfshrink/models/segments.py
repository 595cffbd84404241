"""A decoder cut at its exits, over a cache."""

import dataclasses
import functools

import numpy as np
from keras import ops

from tfshrink.errors import UserError
from tfshrink.exit_policy import ExitPolicy
from tfshrink.exit_spec import GAIN
from tfshrink.exit_spec import NEVER
from tfshrink.layers.kv_cache import KVCache
from tfshrink.layers.light_head import candidate_logits
from tfshrink.models.decoder import positions_at
from tfshrink.ops import confidence
from tfshrink.ops.exit_policy import chance_to_leave


class Segments:
    """The blocks between exits, the exits' heads, and what an exit asks.

    A cache is a dict: `blocks` and `exits`, keys and values of the model's
    blocks and of the heads'; `shift`, what a target has moved thresholds by.

    Args:
        model: Built `Decoder` with exits.
        spec: `ExitSpec`.
        codecs: `BlockCodecs` of the K/V cache, or `None`.

    Attributes:
        layers: Numbers of blocks behind which tokens may leave.
        count: Number of segments, one more than exits.
        learned: `ExitPolicy` that decides, or `None`.

    Raises:
        UserError: The model has no exits, or not those of the spec.
    """

    def __init__(self, model, spec, codecs=None):
        if model.exits is None:
            raise UserError(
                f"`exit` needs a model with exits. Received: {spec} for "
                f"{model.config.name}: train them with "
                "bin/train --style=early_exit"
            )
        layers = spec.layers_of(model.exits.layers)
        if spec.head == "light" and model.light_head is None:
            raise UserError(
                "`exit` head=light needs a model with a light head. Received: "
                f"{model.config.name}, trained with exit_rank=0"
            )
        self.learned = ExitPolicy.of_spec(spec)
        if self.learned is not None:
            self.learned.check(layers)
        self.model = model
        self.spec = spec
        self.codecs = codecs
        self.layers = layers
        self.count = len(layers) + 1
        self._bounds = (0, *layers, model.config.layers)
        self._heads = [
            head
            for head, index in zip(
                model.exit_heads, model.exits.layers, strict=True
            )
            if index in layers
        ]
        self._own = dataclasses.replace(
            model.config, layers=max(1, len(layers) * model.exits.blocks)
        )

    def settings(self, total):
        """Tensors of the policy, for so many tokens to make: a dict."""
        spec = self.spec
        values = spec.thresholds
        if len(values) == 1:
            values = values * len(self.layers)
        return {
            "thresholds": np.array(values, "float32"),
            "floor": np.float32(spec.floor if spec.schedule == "decay" else 1),
            "rate": np.float32(spec.rate),
            "total": np.float32(total),
            "margin": np.float32(spec.margin),
            "target": np.float32(spec.target or 0.0),
            "gain": np.float32(GAIN if spec.target is not None else 0.0),
        }

    def create(self, batch, length):
        """Returns the empty cache of `batch` sequences of `length` columns."""
        model = self.model
        dtype = model.compute_dtype
        store = KVCache(model.config, length, dtype, self.codecs)
        own = KVCache(self._own, length, dtype)
        return {
            "blocks": store.create(batch),
            "exits": own.create(batch),
            "shift": ops.zeros((), "float32"),
        }

    def chunk(self, cache):
        """Most tokens that `read` takes; `None` is any number."""
        return self._stores(cache)[0].chunk

    def read(self, tokens, cache, column, pad, bits):
        """Takes the tokens of a prompt through all blocks; the new cache."""
        x = self.embed(tokens, column, pad, bits)
        for segment in range(self.count):
            cache, x, _ = self.run(segment, cache, x, column, pad, bits)
        return cache

    def embed(self, tokens, column, pad, bits):
        """States `(B, T, C)` in front of the first block."""
        positions = positions_at(column, pad, tokens.shape[1])
        return self.model.embed(tokens, positions, bits)[0]

    def run(self, segment, cache, x, column, pad, bits):
        """Runs the blocks between two exits, and the head behind them.

        Args:
            segment: Number of the segment, from 0.
            cache: Dict with `blocks` and `exits`.
            x: States `(B, T, C)` in front of it.
            column: Scalar, where the first of the T tokens goes.
            pad: Integer `(B,)`.
            bits: As `Decoder` takes them.

        Returns:
            `(cache, states, hidden)`: the cache with new `blocks` and
            `exits`; `(B, T, C)` behind the blocks, and what the head reads.
        """
        model, count = self.model, x.shape[1]
        store, own_store = self._stores(cache)
        step = store.begin(column, pad, count)
        rotation = model.rotation(positions_at(column, pad, count))
        blocks = range(self._bounds[segment], self._bounds[segment + 1])
        x, states = model.run_blocks(
            blocks, x, rotation, cache["blocks"], store, step, bits
        )
        cache = {**cache, "blocks": states}
        if segment == len(self.layers):
            return cache, x, model.for_head(model.final_norm(x), bits)
        own = list(cache["exits"])
        first = segment * model.exits.blocks
        caches, step = [], own_store.begin(column, pad, count)
        for index in range(first, first + model.exits.blocks):
            caches.append(_attending(own_store, index, own[index], step))
        hidden, new = self._heads[segment](x, rotation=rotation, caches=caches)
        own[first : first + len(new)] = new
        return {**cache, "exits": own}, x, model.for_head(hidden, bits)

    def at(self, step, policy):
        """Tensors of the policy for one token: with `share`, of the text made.

        Args:
            step: Scalar, tokens made before it.
            policy: Of `settings`, tensors.
        """
        share = ops.cast(step, "float32") / policy["total"]
        return {**policy, "share": share}

    def limits(self, cache, policy):
        """Thresholds `(exits,)` of a token.

        Args:
            cache: Dict with `shift`.
            policy: Of `at`.
        """
        limits = confidence.decayed(
            policy["thresholds"],
            policy["share"],
            floor=policy["floor"],
            rate=policy["rate"],
        )
        # A threshold of 1 stays: nothing leaves there, whatever the target.
        moved = ops.clip(limits + cache["shift"], 0.0, 0.9999)
        return ops.where(policy["thresholds"] < 1.0, moved, 1.0)

    def shifted(self, cache, leaves, policy):
        """The cache's `shift` after tokens `(B,)` of which some left."""
        share = ops.mean(ops.cast(leaves, "float32"))
        shift = cache["shift"] + policy["gain"] * (share - policy["target"])
        return ops.clip(shift, -1.0, 1.0)

    def ask(self, exit_index, state, earlier, hidden, limit, policy, bits):
        """Whether tokens may leave at an exit, and with what.

        Args:
            exit_index: Number of the exit, from 0.
            state: `(B, C)` behind the exit's block.
            earlier: The same at the exit before.
            hidden: `(B, C)`, what the exit's head made of it.
            limit: Scalar threshold.
            policy: Of `at`.
            bits: As `Decoder` takes them.

        Returns:
            `(leaves, propose)`: boolean `(B,)`; a function of no argument to
            float32 and int32 `(B, K)`, logits and tokens of the candidates.
        """
        exits, kernel = self.model.exits, self.model.head_kernel(bits)
        names = [self.spec.confidence]
        if self.learned is not None:
            names = self.learned.reads
        proposed = None

        def propose():
            light = self.model.light_head
            return candidate_logits(light, kernel, hidden, exits.candidates)

        if self.spec.margin or not confidence.OF_LOGITS.keys().isdisjoint(
            names
        ):
            proposed = propose()
            propose = functools.partial(tuple, proposed)

        def sure_by(name):
            if name == "classifier":
                return ops.sigmoid(self._heads[exit_index].sure(hidden))
            if name == "cosine":
                return confidence.state_cosine(state, earlier)
            return confidence.OF_LOGITS[name](proposed[0])

        sure = {name: sure_by(name) for name in names}
        if self.learned is None:
            (sure,) = sure.values()
        else:
            sure = chance_to_leave(
                self.learned, sure, exit_index, policy["share"]
            )
        leaves = confidence.may_leave(sure, limit)
        if self.spec.margin:
            gap = confidence.margin(proposed[0])
            leaves = ops.logical_and(leaves, gap >= policy["margin"])
        return leaves, propose

    def last_logits(self, hidden, bits):
        """Logits `(B, V)` behind all blocks, of `hidden` `(B, C)`."""
        model = self.model
        if self.spec.head == "full":
            return model.logits(hidden, bits)
        found = candidate_logits(
            model.light_head,
            model.head_kernel(bits),
            hidden,
            model.exits.candidates,
        )
        return among(*found, model.config.vocabulary)

    def propagated(self, exit_index, cache, state, column, pad, bits):
        """Keys and values of deeper blocks from the state of an exit.

        Args:
            exit_index: Number of the exit, from 0.
            cache: Dict with `blocks` and `exits`.
            state: `(B, C)` behind its block.
            column: As in `run`.
            pad: As in `run`.
            bits: As in `run`.

        Returns:
            The cache with new `blocks` and `exits`.

        Reference: CALM, 2207.07061, section 3.3.
        """
        model = self.model
        store, own_store = self._stores(cache)
        rotation = model.rotation(positions_at(column, pad, 1))
        x = state[:, None]

        def written(block, store, place, cached, own_bits=None):
            step = store.begin(column, pad, 1)
            key, value = block.keys_and_values(x, own_bits)
            return store.append(
                key, value, rotation, index=place, state=cached, step=step
            )

        blocks, exits = list(cache["blocks"]), list(cache["exits"])
        for place in range(self._bounds[exit_index + 1], model.config.layers):
            own = None if bits is None else bits[4 * place]
            blocks[place] = written(
                model.blocks[place], store, place, blocks[place], own
            )
        for later in range(exit_index + 1, len(self.layers)):
            for place, block in enumerate(
                self._heads[later].inner, later * model.exits.blocks
            ):
                exits[place] = written(block, own_store, place, exits[place])
        return {**cache, "blocks": blocks, "exits": exits}

    def _stores(self, cache):
        config = self.model.config
        store = KVCache.of_state(config, cache["blocks"], self.codecs)
        return store, KVCache.of_state(self._own, cache["exits"])


def among(candidates, tokens, vocabulary):
    """Logits `(B, V)` of candidates `(B, K)`; `NEVER` of what is not one."""
    batch, count = tokens.shape
    rows = ops.repeat(ops.arange(batch, dtype="int32")[:, None], count, 1)
    places = ops.reshape(ops.stack([rows, tokens], -1), (-1, 2))
    empty = ops.full((batch, vocabulary), NEVER)
    return ops.scatter_update(empty, places, ops.reshape(candidates, (-1,)))


def _attending(store, index, state, step):
    """The cache of a block, as a function of its queries, keys, values."""

    def attend(query, key, value, rotation):
        return store.attend(
            query, key, value, rotation, index=index, state=state, step=step
        )

    return attend
