"""One decoder for the GPT-2 and the Llama family."""

import contextlib
import dataclasses
import functools

import keras
from keras import ops

from tfshrink.backend import multiply_rows
from tfshrink.decoder_config import DecoderConfig
from tfshrink.errors import UserError
from tfshrink.layer_groups import block_name
from tfshrink.layers.block import Block
from tfshrink.layers.exit_config import ExitConfig
from tfshrink.layers.exit_head import ExitHead
from tfshrink.layers.light_head import LightHead
from tfshrink.layers.norm import Norm
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.layers.removal import split
from tfshrink.layers.switchable_dense import SwitchableDense
from tfshrink.layers.switchable_embedding import SwitchableEmbedding
from tfshrink.models.precision_switch import PrecisionSwitch
from tfshrink.ops import rotary
from tfshrink.ops.dropout import Dropout
from tfshrink.ops.quantize import FULL
from tfshrink.ops.quantize import quantize_activations
from tfshrink.ops.sinusoids import sinusoids
from tfshrink.plan import Plan


class Decoder(keras.Model):
    """A decoder-only language model with precision as an argument.

    The layer groups are, in order, four a block (`attention_in`,
    `attention_out`, `mlp_in`, `mlp_out`), then `embedding` and, untied,
    `head`: one entry of `bits` each.

    Args:
        config: `DecoderConfig`.
        precision: `PrecisionConfig`, or `None` for a plain decoder without
            scales, banks or adapters.
        remat: Whether blocks recompute their activations in the backward
            pass (gradient checkpointing).
        exits: `ExitConfig` of a decoder that tokens may leave early (through
            `models.exit_walk`), or `None`. A call runs all blocks.

    Call arguments:
        tokens: Integer `(B, T)`.
        bits: Integer tensor `(groups,)`, or `(groups, 2)` where a plan removes
            heads or channels, or `(groups, 3)` where it prunes single weights
            (`structure.plan_tensor`); `None` takes what
            `set_bitmap` set, full precision where nothing was. (Everything
            below a call, such as `hidden`, reads `None` as full precision.)

    Returns:
        Logits `(B, T, V)`, float32.

    Example:
        >>> model.set_bitmap("stripe-8-4")
        >>> logits = model(tokens)
    """

    BLOCK = Block  # what it stacks

    def __init__(
        self, config, precision=None, remat=False, exits=None, **kwargs
    ):
        super().__init__(**kwargs)
        if isinstance(config, dict):
            config = DecoderConfig.from_json(config)
        if isinstance(precision, dict):
            precision = PrecisionConfig.from_json(precision)
        if isinstance(exits, dict):
            exits = ExitConfig.from_json(exits)
        self.config = config
        self.precision = precision
        self.remat = remat
        self.exits = exits
        self._inverse = None
        if config.positions == "rope":
            self._inverse = rotary.frequencies(
                config.head_dim, config.rope_theta, config.rope_scaling
            )
        self.switch = None
        if precision is not None:
            self.switch = PrecisionSwitch(
                config.layers, config.tied, precision.group
            )
        policy = self.dtype_policy
        outer = precision and _outside_blocks(precision)
        self.embedding = SwitchableEmbedding(
            config.vocabulary,
            config.width,
            outer,
            dtype=policy,
            name="embedding",
        )
        self.positions = None
        if config.positions == "learned":
            self.positions = SwitchableEmbedding(
                config.context, config.width, dtype=policy, name="positions"
            )
        self.blocks = [
            self.BLOCK(
                config,
                precision,
                dtype=policy,
                name=block_name(index, config.layers),
            )
            for index in range(config.layers)
        ]
        self.final_norm = Norm(
            config.norm, config.norm_epsilon, dtype=policy, name="final_norm"
        )
        self.head = None
        if not config.tied:
            self.head = SwitchableDense(
                config.vocabulary, precision=outer, dtype=policy, name="head"
            )
        self.exit_heads, self.light_head = [], None
        if exits is not None:
            self._add_exits(exits)

    def _add_exits(self, exits):
        exits.check(self.config)
        policy = self.dtype_policy
        self.exit_heads = [
            ExitHead(self.config, exits, dtype=policy, name=f"exit_{index:02d}")
            for index in exits.layers
        ]
        if exits.rank:
            self.light_head = LightHead(
                self.config.vocabulary,
                self.config.width,
                exits.rank,
                dtype=policy,
                name="exit_candidates",
            )

    def build(self, input_shape=None):
        shape = (None, None, self.config.width)
        self.embedding.build()
        if self.positions is not None:
            self.positions.build()
        for block in self.blocks:
            block.build(shape)
        self.final_norm.build(shape)
        if self.head is not None:
            self.head.build(shape)
        for head in self.exit_heads:
            head.build(shape)
        if self.light_head is not None:
            self.light_head.build()
        self.built = True

    def set_bitmap(self, plan):
        """Sets the precision of calls without `bits`.

        Args:
            plan: `Plan`, what `--plan` takes (`8`, `"stripe-8-4"`), or a list
                with one bit-width a block group; `None` is full precision.
        """
        self._own_switch().set(plan)

    def set_layer_precision(self, rows):
        """The same from `[{"attn_bits": 8, "mlp_bits": 4}, ...]` per block."""
        plan = Plan.from_layer_precision(
            rows, layers=self.config.layers, tied=self.config.tied
        )
        self.set_bitmap(plan.bits)

    @property
    def bitmap(self):
        """Bits of every layer group in model order, `None` if unset."""
        plan = self.switch and self.switch.plan
        return plan and plan.bits

    def layer_precision(self):
        """What is set, as `[{"attn_bits", "mlp_bits"}, ...]`, or `None`."""
        plan = self.switch and self.switch.plan
        return plan and plan.layer_precision()

    def _own_switch(self):
        if self.switch is None:
            raise UserError(
                "`precision` must be given to a model whose precision is to "
                "be set. Received: precision=None"
            )
        return self.switch

    def call(self, tokens, bits=None):
        if bits is None and self.switch is not None:
            bits = self.switch.bits
        return self.logits(self.hidden(tokens, bits), bits)

    def hidden(self, tokens, bits=None, codecs=None, tap=None, dropped=None):
        """Final hidden states `(B, T, C)`, normalised, before the head.

        Args:
            tokens: Integer `(B, T)`.
            bits: As in a call.
            codecs: `BlockCodecs`: older tokens are seen as these decode them,
                and gradients pass (`ParallelKV`); `None` sees all exactly.
            tap: Called with the states behind each exit's block, and with the
                rotation of their positions; `None` for nothing.
            dropped: Boolean tensor `(blocks,)`, those to leave out, or `None`.
        """
        bits = self._checked(bits)
        length = tokens.shape[1]
        if length > self.config.context:
            raise UserError(
                f"`tokens` must hold at most {self.config.context} tokens a "
                f"sequence. Received: {length}"
            )
        columns = ops.arange(length)
        x, rotation = self.embed(tokens, columns[None], bits)
        return self.hidden_of(x, rotation, bits, codecs, tap, dropped)

    def hidden_of(
        self, x, rotation, bits=None, codecs=None, tap=None, dropped=None
    ):
        """The same of embedded tokens.

        Args:
            x: `(B, T, C)`.
            rotation: Of their positions, as `embed` returns it.
            bits: As a tensor, or `None`.
            codecs: As in `hidden`, like the next two.
            tap: Function, or `None`.
            dropped: Boolean tensor, or `None`.
        """
        for index, block in enumerate(self.blocks):
            own = None if bits is None else bits[4 * index : 4 * index + 4]
            cache = codecs and codecs.parallel(self.config, index)
            run = _forward(block, own, rotation, cache)
            new = keras.remat(run)(x) if self.remat else run(x)
            x = new if dropped is None else ops.where(dropped[index], x, new)
            if tap is not None and index + 1 in self.exits.layers:
                tap(x, rotation)
        return self.for_head(self.final_norm(x), bits)

    def hidden_cached(self, tokens, states, column, pad, store, bits=None):
        """Hidden states of new tokens over a cache.

        Args:
            tokens: Integer `(B, T)`; sequences end in the same column.
            states: Cache state, one entry a block.
            column: Scalar, the cache column of the first new token.
            pad: Integer `(B,)`: leading columns that are padding.
            store: The `KVCache`; where it codes, it names the most tokens of a
                step (`chunk`).
            bits: As in a call.

        Returns:
            `(hidden, states)`.
        """
        bits = self._checked(bits)
        step = store.begin(column, pad, tokens.shape[1])
        positions = positions_at(column, pad, tokens.shape[1])
        x, rotation = self.embed(tokens, positions, bits)
        blocks = range(self.config.layers)
        x, new = self.run_blocks(blocks, x, rotation, states, store, step, bits)
        return self.for_head(self.final_norm(x), bits), new

    def run_blocks(self, blocks, x, rotation, states, store, step, bits=None):
        """Runs some of the blocks on new tokens, over a cache.

        Args:
            blocks: Their numbers, from 0, in a row.
            x: States `(B, T, C)` in front of them.
            rotation: Of `embed`.
            states: Cache state, one entry a block of the model.
            store: The `KVCache`.
            step: Of its `begin`.
            bits: As in a call.

        Returns:
            `(x, states)`: the states behind them, and a new list in which
            theirs are replaced.
        """
        states = list(states)
        for index in blocks:
            own = None if bits is None else bits[4 * index : 4 * index + 4]
            cache = functools.partial(
                store.attend, index=index, state=states[index], step=step
            )
            block = self.blocks[index]
            x, states[index] = block(x, own, rotation, cache=cache)
        return x, states

    @contextlib.contextmanager
    def dropping(self, rate, seed):
        """Blocks drop parts of what they add to the states.

        Args:
            rate: Share, 0..1.
            seed: Integer tensor `(2,)`.
        """
        for index, block in enumerate(self.stacked()):
            block.dropout = Dropout(rate, seed, index)
        try:
            yield
        finally:
            for block in self.stacked():
                block.dropout = None

    def stacked(self):
        """All blocks, whatever they are for."""
        return self.blocks

    def for_head(self, x, bits):
        """States as the head reads them: int8 where its kernel wants that."""
        if bits is None or not self.precision.activations:
            return x
        full = self._outer_bits(bits, -1) >= FULL
        return ops.where(full, x, quantize_activations(x))

    def _checked(self, bits):
        """Bits as a tensor with one row a layer group, or `None`."""
        if bits is None:
            return None
        bits = ops.convert_to_tensor(bits, "int32")
        wanted = 4 * self.config.layers + (1 if self.config.tied else 2)
        count, *rest = tuple(bits.shape) or (0,)
        if count not in (wanted, None) or rest not in ([], [2], [3]):
            raise UserError(
                f"`bits` must hold one bit-width for each of the {wanted} "
                f"layer groups of {self.config.name}. "
                f"Received: shape {tuple(bits.shape)}"
            )
        return bits

    def _outer_bits(self, bits, index):
        """Bit-width of embedding (0) or head (-1), or `None`."""
        place = 4 * self.config.layers if index == 0 else index
        return None if bits is None else split(bits[place])[0]

    def embed(self, tokens, positions, bits=None):
        """Embedded tokens `(B, T, C)` and the rotation of `positions`."""
        config = self.config
        x = self.embedding(tokens, self._outer_bits(bits, 0))
        if config.embedding_scale != 1.0:
            x = x * ops.cast(config.embedding_scale, x.dtype)
        if self.positions is not None:
            x = x + self.positions(positions)
        if config.positions == "sinusoidal":
            x = x + ops.cast(sinusoids(positions, config.width), x.dtype)
        return x, self.rotation(positions)

    def rotation(self, positions):
        """Cosines and sines of positions; `None` where nothing is turned."""
        if self._inverse is None:
            return None
        return rotary.tables(positions, self._inverse)

    def head_kernel(self, bits=None):
        """The head as `(V, C)`, in the compute type."""
        if self.head is None:
            return self.embedding.head(self._outer_bits(bits, 0))
        kernel = self.head.kernel_at(self._outer_bits(bits, -1))
        return kernel if self.head.turned else ops.transpose(kernel)

    def logits(self, hidden, bits=None):
        """Logits `(..., V)` in float32 of hidden states `(..., C)`."""
        out = multiply_rows(hidden, self.head_kernel(bits))
        return ops.cast(out, "float32")

    @property
    def exit_variables(self):
        """Variables of the exits and of the light head they share."""
        layers = [*self.exit_heads, self.light_head]
        return sum((x.variables for x in layers if x is not None), [])

    def groups(self):
        """Name of each layer group to its list of member layers."""
        groups = {}
        for block in self.blocks:
            for name, members in block.groups().items():
                groups[f"{block.name}/{name}"] = members
        groups["embedding"] = [self.embedding]
        if self.head is not None:
            groups["head"] = [self.head]
        return groups

    def get_config(self):
        precision = self.precision
        return {
            **super().get_config(),
            "config": self.config.to_json(),
            "precision": precision and precision.to_json(),
            "remat": self.remat,
            "exits": self.exits and self.exits.to_json(),
        }


def positions_at(column, pad, count):
    """Positions `(B, T)` of `count` tokens that begin in a cache column."""
    columns = column + ops.arange(count)
    return ops.maximum(columns[None, :] - pad[:, None], 0)


def _forward(block, bits, rotation, cache):
    """The block as a function of `x`; recomputing takes tensors alone."""

    def run(x):
        return block(x, bits, rotation, cache=cache)[0]

    return run


def _outside_blocks(precision):
    """The precision of embedding and head: codes at 4 bits, no adapters."""
    banked = 4 in precision.banked
    return dataclasses.replace(
        precision,
        bank="codes" if banked else "none",
        bank_widths=(4,) if banked else None,
        ranks=(),
        activations=0,
    )
