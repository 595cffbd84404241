"""Runs one block at a time, and sees what goes into its dense layers."""

import contextlib
import dataclasses

import keras
import numpy as np
from keras import ops

from tfshrink import backend
from tfshrink.layers.block import Block
from tfshrink.models.checkpoint import variable_name
from tfshrink.ops import rotary

ROWS = 8  # sequences run at once


class BlockRunner:
    """A scratch block that every block of a model is copied into.

    Thirty blocks so cost one compile. The scratch block holds its codes as
    floats, so that they can be trained.

    Args:
        model: Built `Decoder`.
        length: Tokens of a sequence.
        bits: The bit-width the scratch block has codes for.
        removed: Heads and channels that go, a pair a block; `None` is none.
    """

    def __init__(self, model, length, bits, removed=None):
        precision = model.precision
        if precision.banked:
            precision = dataclasses.replace(
                precision, bank="latent", bank_widths=(bits,)
            )
        self.bits = bits
        self.block = Block(
            model.config,
            precision,
            dtype=model.dtype_policy,
            name="block_scratch",
        )
        self.block.build((None, None, model.config.width))
        columns = ops.arange(length)
        rotation = None
        if model.config.positions == "rope":
            rotation = rotary.tables(columns[None], model._inverse)
        self.rotation = rotation
        self._removed = None
        if removed:
            self._removed = {
                block.name: pair
                for block, pair in zip(model.blocks, removed, strict=True)
            }
            self._parts = keras.Variable(
                np.zeros((4,), "int32"), trainable=False, dtype="int32"
            )
        variables = self.block.variables
        if removed:
            variables = [*variables, self._parts]
        self._full = backend.Compiled(lambda x: self._run(x, None), variables)
        self._quantized = backend.Compiled(self.run, variables)
        self._moments = backend.Compiled(self._tapped_moments, variables)
        self._peaks = backend.Compiled(self._tapped_peaks, variables)

    def _own(self, bits):
        """What the scratch block is called with at a bit-width."""
        own = ops.full((4,), bits, "int32")
        if self._removed is None:
            return own
        return ops.stack([own, ops.convert_to_tensor(self._parts)], axis=1)

    def _run(self, x, bits):
        x = ops.cast(x, self.block.compute_dtype)
        out, _ = self.block(x, bits, self.rotation)
        return ops.cast(out, "float32")

    def run(self, x):
        """Output of the scratch block at its bit-width, for a compile."""
        return self._run(x, self._own(self.bits))

    def load(self, block):
        """Copies a block of the model into the scratch block."""
        _copy(block, self.block, self.bits)
        if self._removed is not None:
            heads, channels = self._removed[block.name]
            self._parts.assign(np.array([heads, 0, channels, 0], "int32"))

    def kept_inputs(self):
        """How many inputs of a layer group stay, where the plan removes some.

        Returns:
            Group name to number; empty where nothing is removed.
        """
        if self._removed is None:
            return {}
        heads, _, channels, _ = np.asarray(self._parts)
        config, found = self.block.config, {}
        if heads:
            wide = config.heads * config.head_dim
            found["attention_out"] = wide - heads * (wide // config.kv_heads)
        if channels:
            found["mlp_out"] = config.hidden - channels
        return {name: int(count) for name, count in found.items()}

    def store(self, block):
        """Copies the scratch block back; codes become what they round to."""
        _copy(self.block, block, self.bits)

    def round_codes(self):
        """Makes integers of the scratch block's codes, where they are."""
        for members in self.block.groups().values():
            for member in members:
                quantizer = member.quantizer
                if quantizer.bank is not None:
                    codes = np.rint(np.asarray(quantizer.bank)[0])
                    quantizer.set_codes(self.bits, codes)

    def snapshot(self):
        """The values of the scratch block, NumPy, in its own order."""
        return [np.array(v) for v in self.block.variables]

    def restore(self, values):
        """Assigns what `snapshot` returned."""
        for variable, value in zip(self.block.variables, values, strict=True):
            variable.assign(value)

    def outputs(self, states, *, quantized):
        """Outputs of the scratch block over all sequences.

        Args:
            states: `(N, T, C)` float32, NumPy.
            quantized: At the runner's bit-width, or in full precision.

        Returns:
            `(N, T, C)` float32, NumPy.
        """
        run = self._quantized if quantized else self._full
        parts = [np.asarray(run(rows)) for rows in batches(states)]
        return np.concatenate(parts)[: len(states)]

    def hessians(self, states):
        """X^T X of the inputs of each layer group, full precision inside.

        Args:
            states: `(N, T, C)` float32, NumPy.

        Returns:
            Group name to `(inputs, inputs)` float32, the mean over tokens.
        """
        found = self.statistics(states)
        return {name: product for name, (product, _) in found.items()}

    def statistics(self, states):
        """Second moments and magnitudes of the inputs of each layer group.

        Args:
            states: `(N, T, C)` float32, NumPy.

        Returns:
            Group name to the means over tokens of `x x^T`, `(inputs,
            inputs)`, and of `|x|`, `(inputs,)`, float32.
        """
        totals = {}
        for rows in batches(states, whole=True):
            for name, parts in self._moments(rows).items():
                known = totals.get(name, (0.0, 0.0))
                totals[name] = [
                    a + np.asarray(b) for a, b in zip(known, parts, strict=True)
                ]
        count = states.shape[0] * states.shape[1]
        return {
            name: tuple(total / count for total in own)
            for name, own in totals.items()
        }

    def peaks(self, states):
        """Largest magnitudes of the inputs of each layer group.

        Args:
            states: `(N, T, C)` float32, NumPy.

        Returns:
            Group name to `(inputs,)` float32.
        """
        found = {}
        for rows in batches(states, whole=True):
            for name, own in self._peaks(rows).items():
                found[name] = np.maximum(found.get(name, 0.0), np.asarray(own))
        return found

    def _tapped_peaks(self, x):
        with _tapped(self.block) as taps:
            self._run(x, None)
        return {
            name: ops.cast(ops.max(ops.abs(value), axis=(0, 1)), "float32")
            for name, (value,) in taps.items()
        }

    def _tapped_moments(self, x):
        with _tapped(self.block) as taps:
            self._run(x, None)
        found = {}
        for name, (value,) in taps.items():
            wide = ops.cast(value, "float32")
            rows = ops.reshape(wide, (-1, value.shape[-1]))
            product = ops.matmul(ops.transpose(rows), rows)
            found[name] = product, ops.sum(ops.abs(rows), axis=0)
        return found


def embedded(model, tokens):
    """Embedded tokens `(N, T, C)` as float32 NumPy."""
    columns = ops.arange(tokens.shape[1])[None]
    parts = [
        model.embed(tokens[start : start + ROWS], columns)[0]
        for start in range(0, len(tokens), ROWS)
    ]
    return np.concatenate([np.asarray(ops.cast(x, "float32")) for x in parts])


def batches(states, whole=False):
    """Batches of `ROWS` sequences; the last is filled up with zeros.

    With `whole` it is left short instead, for sums over tokens.
    """
    for start in range(0, len(states), ROWS):
        rows = states[start : start + ROWS]
        missing = 0 if whole else ROWS - len(rows)
        yield np.pad(rows, ((0, missing), (0, 0), (0, 0)))


@contextlib.contextmanager
def _tapped(block):
    """Collects the inputs of the first member of each layer group."""
    groups = {name: members[0] for name, members in block.groups().items()}
    taps = {name: [] for name in groups}
    for name, member in groups.items():
        member.tap = taps[name].append
    try:
        yield taps
    finally:
        for member in groups.values():
            member.tap = None


def _copy(source, target, bits):
    """Copies every variable; of a bank, the row of one bit-width."""
    values = {_tail(v): v for v in source.variables}
    for variable in target.variables:
        value = values[_tail(variable)]
        if not variable.path.endswith("/quantizer/bank"):
            variable.assign(value)
    for members, others in zip(
        source.groups().values(), target.groups().values(), strict=True
    ):
        for member, other in zip(members, others, strict=True):
            _copy_bank(member.quantizer, other.quantizer, bits)


def _copy_bank(source, target, bits):
    if source.bank is None or target.bank is None:
        return
    codes = np.asarray(source.bank)[source.precision.banked.index(bits)]
    if not keras.backend.is_float_dtype(target.bank.dtype):
        codes = np.rint(codes)
    target.set_codes(bits, codes)


def _tail(variable):
    return variable_name(variable).split("/", 1)[1]
