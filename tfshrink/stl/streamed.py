"""Judges plans of a model that does not fit into memory, block by block."""

import dataclasses

import numpy as np
from keras import ops

from tfshrink.errors import UserError
from tfshrink.layer_groups import BLOCK_GROUPS
from tfshrink.models.block_forward import BlockForward
from tfshrink.models.decoder import Decoder
from tfshrink.models.load import weight_variables
from tfshrink.models.sources.weight_names import split_name
from tfshrink.ops import divergence
from tfshrink.ops.quantize import FULL
from tfshrink.structure import plan_tensor

COUNT = len(BLOCK_GROUPS)
ROWS = 256  # tokens whose logits are there at once


def streamed_signals(
    source,
    precision,
    plans,
    prompts,
    *,
    dtype="float32",
    scales="mse",
    progress=None,
):
    """Signals of plans of a model of which one block is in memory at a time.

    The weights of the source come one tensor after the other. Each block is run
    by the reference and by all plans, side by side, and gives way to the next.
    Scales are fitted by rounding; embedding and head stay.

    Args:
        source: `Source`.
        precision: `PrecisionConfig` without adapters or banks.
        plans: List of `Plan` that remove nothing and name no K/V cache.
        prompts: `Prompts`.
        dtype: Compute type.
        scales: How scales are fitted: `"mse"` or `"rtn"`.
        progress: Called with the number of blocks that were run.

    Returns:
        A list of dicts of signal to `(N, T)`, one a plan: `jsd`, `attention`,
        `context`, `factual`, `max_probability_deviation` and `nats`.

    Raises:
        UserError: A plan removes parts, for which all blocks must be sorted, or
            codes keys and values, for which they must be measured.
    """
    if any(plan.removes for plan in plans):
        raise UserError(
            "`plan` must remove nothing where blocks are streamed. Received: "
            f"{', '.join(plan.name for plan in plans if plan.removes)}"
        )
    coded = [plan.name for plan in plans if plan.kv]
    if coded:
        raise UserError(
            "`plan` must set no kv where blocks are streamed. "
            f"Received: {', '.join(coded)}"
        )
    run = _Stream(source.config, precision, plans, prompts, dtype, scales)
    for name, value in source.weights():
        done = run.take(name, np.asarray(value, "float32"))
        if done is not None and progress is not None:
            progress(done)
    return run.signals()


class _Stream:
    """A decoder of one block, which all blocks pass through."""

    def __init__(self, config, precision, plans, prompts, dtype, scales):
        policy = "mixed_bfloat16" if dtype == "bfloat16" else dtype
        one = dataclasses.replace(config, layers=1)
        self.model = Decoder(one, precision, dtype=policy, name="decoder")
        self.model.build()
        self.forward = BlockForward(self.model, prompts.tokens.shape[1])
        self.layers = config.layers
        self.prompts = prompts
        self.scales = scales
        self.rows = [plan_tensor(config, plan) for plan in plans]
        self.states = None  # of the reference, then of each plan
        self.attention = [1.0] * len(plans)
        self.variables = {
            split_name(v.path.removeprefix("decoder/")): v
            for v in weight_variables(self.model)
        }
        self.missing = 0

    def take(self, name, value):
        """Takes a weight; after a whole block returns how many are done."""
        block, module, leaf = split_name(name)
        own = block if block is None else 0
        variable = self.variables[own, module, leaf]
        if tuple(variable.shape) != value.shape:
            raise UserError(
                f"`model` weight {name} must have shape "
                f"{tuple(variable.shape)}. Received: {value.shape}"
            )
        if block is not None and not self.missing:
            self._begin_block()
        variable.assign(value)
        if block is None:
            return None
        self.missing -= 1
        if self.missing:
            return None
        self._run_block(block)
        return block + 1

    def _begin_block(self):
        """Counts what a block needs; before the first, embeds the prompts."""
        self.missing = sum(key[0] is not None for key in self.variables)
        if self.states is None:
            self._fit(outer=True)
            self.states = [
                self.forward.embed(self.prompts.tokens, bits)
                for bits in self._bits(0)
            ]

    def _bits(self, block):
        """What the one block is called with: the reference's `None` first."""
        inside = slice(COUNT * block, COUNT * (block + 1))
        stop = COUNT * self.layers
        return [None] + [
            np.concatenate([own[inside], own[stop:]]) for own in self.rows
        ]

    def _fit(self, outer):
        """Fits the scales of what was loaded, at the widths in use."""
        rows = np.stack([own.reshape(len(own), -1)[:, 0] for own in self.rows])
        widths = sorted({int(b) for b in rows.ravel() if b < FULL})
        for name, members in self.model.groups().items():
            if name.startswith("block_") == outer:
                continue
            for member in members:
                weight = getattr(member, "kernel", None)
                weight = member.table if weight is None else weight
                member.quantizer.fit(weight, widths, method=self.scales)

    def _run_block(self, block):
        self._fit(outer=False)
        self.forward.forget()
        first, *rest = self._bits(block)
        whole, maps = self.forward.block_and_maps(0, self.states[0], first)
        states = [whole]
        for index, bits in enumerate(rest):
            out, cosine = self.forward.block_and_cosine(
                0, self.states[1 + index], maps, bits
            )
            states.append(out)
            self.attention[index] = np.minimum(
                self.attention[index], ops.convert_to_numpy(cosine)
            )
        self.states = states

    def signals(self):
        """Signals of each plan, once all weights have come."""
        if self.model.head is not None:
            self._fit(outer=True)  # the head has come last
        bits = self._bits(self.layers - 1)
        hidden = [
            self.forward.finish(x, own)
            for x, own in zip(self.states, bits, strict=True)
        ]
        heads = [self.forward.head(own) for own in bits]
        found = [{} for _ in self.rows]
        for start in range(0, hidden[0].shape[0] * hidden[0].shape[1], ROWS):
            logits = [
                _logits(x, head, start)
                for x, head in zip(hidden, heads, strict=True)
            ]
            for own, values in zip(
                found, self._compared(logits, start), strict=True
            ):
                for name, value in values.items():
                    own.setdefault(name, []).append(value)
        shape = self.prompts.tokens.shape
        for index, own in enumerate(found):
            for name, parts in own.items():
                own[name] = np.concatenate(parts).reshape(shape)
            own["attention"] = self.attention[index]
            own["context"] = ops.convert_to_numpy(
                divergence.cosine(hidden[0], hidden[1 + index])
            )
        return found

    def _compared(self, logits, start):
        """Signals of some tokens, a dict a plan."""
        part = slice(start, start + ROWS)
        reference, *rest = logits
        p = divergence.probabilities(reference)
        top = ops.convert_to_numpy(ops.argmax(reference, axis=-1))
        gold = self.prompts.gold.reshape(-1)[part]
        watched = np.where(gold >= 0, gold, top).astype("int32")
        tokens = np.pad(self.prompts.tokens[:, 1:], ((0, 0), (0, 1)))
        following = tokens.reshape(-1)[part].astype("int32")
        known = divergence.compare(p, reference, watched, following)
        for own in rest:
            values = divergence.compare(p, own, watched, following)
            values = {k: ops.convert_to_numpy(x) for k, x in values.items()}
            ratio = values.pop("watched") - np.asarray(known["watched"])
            apart = values.pop("peak") - np.asarray(known["peak"])
            yield {
                **values,
                "factual": np.exp(ratio),
                "max_probability_deviation": np.abs(apart),
            }


def _logits(hidden, head, start):
    """Logits of some tokens, float32 `(n, V)`."""
    rows = ops.reshape(hidden, (-1, hidden.shape[-1]))[start : start + ROWS]
    return ops.cast(ops.matmul(rows, head), "float32")
