"""A model at one plan, as plain arrays: what an export writes down."""

import dataclasses

import numpy as np

from tfshrink.decoder_config import DecoderConfig
from tfshrink.ops.prune import prune_mask
from tfshrink.ops.quantize import FULL
from tfshrink.plan import Plan
from tfshrink.structure import kept_parts
from tfshrink.structure import plan_tensor


@dataclasses.dataclass(eq=False)
class FrozenDense:
    """One weight at its bit-width, and what stands beside it.

    Args:
        codes: int8 `(outputs, inputs)`, without the half step of 2 bits;
            float32 values where it is not quantized.
        scale: float32 `(outputs, groups)`, or `None`.
        bits: Bit-width in the plan.
        bias: float32 `(outputs,)`, or `None`.
        down, up: The adapter's factors `(rank, inputs)` and `(outputs,
            rank)`, float32, or `None`. The gain is in `down`.
    """

    codes: np.ndarray
    scale: np.ndarray | None
    bits: int
    bias: np.ndarray | None = None
    down: np.ndarray | None = None
    up: np.ndarray | None = None

    def values(self):
        """The weight as floats `(outputs, inputs)`, without its adapter."""
        if self.scale is None:
            return self.codes
        outputs, inputs = self.codes.shape
        levels = self.codes.astype("float32") + (self.bits == 2) * 0.5
        levels = levels.reshape(outputs, self.scale.shape[1], -1)
        return (levels * self.scale[..., None]).reshape(outputs, inputs)

    def first(self, outputs=None, inputs=None):
        """The same without all but the first outputs and inputs.

        Args:
            outputs: How many stay; `None` is all.
            inputs: The same; they fill whole groups of one scale.
        """
        scale, down = self.scale, self.down
        if scale is not None and inputs is not None and scale.shape[1] > 1:
            group = self.codes.shape[1] // scale.shape[1]
            scale = scale[:, : inputs // group]
        rows = {
            "codes": self.codes[:, :inputs],
            "scale": scale,
            "bias": self.bias,
            "up": self.up,
        }
        return dataclasses.replace(
            self,
            down=None if down is None else _own(down[:, :inputs]),
            **{
                name: None if value is None else _own(value[:outputs])
                for name, value in rows.items()
            },
        )


def _own(array):
    """The array as memory of its own, without what was cut off."""
    return np.array(array, order="C")


@dataclasses.dataclass(eq=False)
class FrozenNorm:
    """Gain, and bias of a LayerNorm, float32 `(C,)`."""

    scale: np.ndarray
    bias: np.ndarray | None


@dataclasses.dataclass(eq=False)
class FrozenBlock:
    """A block: its norms, the members of its layer groups, and its heads."""

    attention_norm: FrozenNorm
    mlp_norm: FrozenNorm
    groups: dict
    heads: int
    kv_heads: int


@dataclasses.dataclass(eq=False)
class FrozenDecoder:
    """A decoder at one plan.

    Args:
        config: `DecoderConfig`.
        plan: `Plan`.
        blocks: `FrozenBlock`s, lowest first.
        embedding: `FrozenDense` `(V, C)`; the head too where tied.
        head: `FrozenDense` `(V, C)`, or `None` where tied.
        positions: float32 `(context, C)`, or `None`.
        final_norm: `FrozenNorm`.
    """

    config: DecoderConfig
    plan: Plan
    blocks: list
    embedding: FrozenDense
    head: FrozenDense | None
    positions: np.ndarray | None
    final_norm: FrozenNorm

    @property
    def head_table(self):
        """What the head multiplies with, `FrozenDense` `(V, C)`."""
        return self.embedding if self.head is None else self.head

    def weights(self):
        """Name of each weight, its layer group first, to `FrozenDense`."""
        found = {}
        names = iter(self.plan.names)
        for block in self.blocks:
            for members in block.groups.values():
                group = next(names)
                for index, member in enumerate(members):
                    found[f"{group}/{index}"] = member
        found["embedding"] = self.embedding
        if self.head is not None:
            found["head"] = self.head
        return found


def freeze(model, plan):
    """Reads a model's weights at a plan, without what the plan removes.

    Args:
        model: Built `Decoder`, with scales for every width of the plan.
        plan: `Plan` of the same structure.

    Returns:
        `FrozenDecoder`.
    """
    bits = iter(plan.bits)
    rows = plan_tensor(model.config, plan)
    pruned = iter(rows[:, 2] if plan.pruning else (0,) * len(rows))
    parts = kept_parts(model.config, plan)
    blocks = [
        freeze_block(model.config, block, bits, pruned, *kept)
        for block, kept in zip(model.blocks, parts, strict=True)
    ]
    embedding = _table(model.embedding, next(bits))
    head = None if model.head is None else _dense(model.head, next(bits))
    positions = model.positions
    return FrozenDecoder(
        config=model.config,
        plan=plan,
        blocks=blocks,
        embedding=embedding,
        head=head,
        positions=positions and np.array(positions.table, "float32"),
        final_norm=freeze_norm(model.final_norm),
    )


def freeze_block(config, block, bits, pruned, kv_heads, channels):
    """Reads a block's weights.

    Args:
        config: `DecoderConfig`.
        block: Built `Block`.
        bits: Iterator of the bit-widths of its layer groups.
        pruned: Iterator of how many of their weights are pruned.
        kv_heads: Key/value heads that stay, the first.
        channels: Channels of the MLP that stay.

    Returns:
        `FrozenBlock`.
    """
    groups = {}
    for name, members in block.groups().items():
        own, parts = next(bits), next(pruned)
        groups[name] = [_dense(member, own, parts) for member in members]
    return _kept(config, block, groups, kv_heads, channels)


def _kept(config, block, groups, kv_heads, channels):
    """The block with the first of its heads and channels."""
    width = config.head_dim
    heads = kv_heads * (config.heads // config.kv_heads)
    outputs = [heads * width, kv_heads * width, kv_heads * width]
    pairs = zip(groups["attention_in"], outputs, strict=True)
    groups = {
        "attention_in": [member.first(count) for member, count in pairs],
        "attention_out": [
            member.first(inputs=heads * width)
            for member in groups["attention_out"]
        ],
        "mlp_in": [member.first(channels) for member in groups["mlp_in"]],
        "mlp_out": [
            member.first(inputs=channels) for member in groups["mlp_out"]
        ],
    }
    norms = freeze_norm(block.attention_norm), freeze_norm(block.mlp_norm)
    return FrozenBlock(*norms, groups, heads, kv_heads)


def freeze_norm(layer):
    """Reads a `Norm`; returns a `FrozenNorm`."""
    bias = None if layer.bias is None else np.array(layer.bias, "float32")
    return FrozenNorm(np.array(layer.scale, "float32"), bias)


def _dense(layer, bits, pruned=0):
    kernel = np.array(layer.kernel, "float32")
    precision, down, up = layer.precision, None, None
    if layer.adapters is not None:
        if precision.placement == "inside":
            kernel = kernel + np.asarray(layer.adapters.delta(bits))
        elif bits in precision.widths:
            down, up = (np.asarray(x) for x in layer.adapters.factors(bits))
            own = precision.ranks[precision.widths.index(bits)]
            down, up = down[:own], np.ascontiguousarray(up[:own].T)
    codes, scale = _codes(layer.quantizer, kernel, bits)
    if pruned:
        codes = codes * np.asarray(prune_mask(kernel, pruned), codes.dtype)
    return FrozenDense(
        codes=np.ascontiguousarray(codes.T),
        scale=None if scale is None else np.ascontiguousarray(scale.T),
        bits=bits,
        bias=None if layer.bias is None else np.array(layer.bias, "float32"),
        # An adapter that never moved adds nothing.
        down=down if up is not None and up.any() else None,
        up=up if up is not None and up.any() else None,
    )


def _table(layer, bits):
    codes, scale = _codes(layer.quantizer, np.array(layer.table), bits)
    return FrozenDense(codes=codes, scale=scale, bits=bits)


def _codes(quantizer, weight, bits):
    """Codes and scales of a weight, or its values and `None`."""
    if quantizer is None or bits >= FULL:
        return weight, None
    scale = np.asarray(quantizer.scale(bits))
    groups = quantizer.groups_at(bits)
    # Scales per channel are broadcast to the finest grouping in use.
    scale = scale[:groups] if quantizer.axis == 0 else scale[:, :groups]
    banked = quantizer.precision.banked if quantizer.bank is not None else ()
    if bits in banked:
        codes = np.asarray(quantizer.bank[banked.index(bits)])
        if codes.dtype != np.int8:  # a latent bank
            codes = np.clip(np.rint(codes), *_range(bits)).astype("int8")
        return codes, scale
    return quantizer.codes(weight, bits), scale


def _range(bits):
    high = 2 ** (bits - 1) - 1
    return (-2 if bits == 2 else -high), high
