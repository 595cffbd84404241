"""Keys and values in the axes in which they vary, each in its own bits."""

import dataclasses

import numpy as np
from keras import ops

from tfshrink.fusion import fuse
from tfshrink.layers.kv_codec import KVCodec
from tfshrink.ops.gains import gain_codes
from tfshrink.ops.gains import gains
from tfshrink.ops.packing import pack
from tfshrink.ops.packing import unpack


@dataclasses.dataclass(frozen=True)
class PCATable:
    """How one kind of vector is coded; F numbers of all heads together.

    Args:
        mean: `(F,)`, subtracted first.
        metric: `(H_kv, D, D)`, as in `KVStatistics`.
        backward: `(kept, F)`: of the same, those with most bits first.
        variances: `(kept,)`.
        widths: Bit-width of each run of coefficients, most first; what has no
            bits is left out.
        counts: Coefficients of each run.
        steps: `(kept,)`: width of a quantization step of each coefficient.
    """

    mean: np.ndarray
    metric: np.ndarray
    backward: np.ndarray
    variances: np.ndarray
    widths: tuple
    counts: tuple
    steps: np.ndarray

    @property
    def kept(self):
        """Coefficients that have bits."""
        return sum(self.counts)

    @property
    def table_bytes(self):
        """Bytes of the table itself, matrices as bfloat16."""
        vectors = self.mean.size + self.variances.size + self.steps.size
        return 2 * (self.metric.size + self.backward.size) + 4 * vectors

    @property
    def token_bytes(self):
        """Bytes of one vector: codes, and a gain."""
        runs = zip(self.counts, self.widths, strict=True)
        return 1 + sum(count * bits // 8 for count, bits in runs)


class PCACodec(KVCodec):
    """Principal components of keys before RoPE and of values.

    The heads of a decoder block share one basis, found on calibration text
    (`models.kv_calibration`). Each coefficient has bits and a step of its own,
    fixed; each token one gain, in steps of an eighth of an octave. The
    quantizer is a midrise one: a coefficient lies in the middle of its step.

    Reference: Staniszewski and Lancucki, KV cache transform coding (KVTC),
    2025, for principal components with bits by variance. Bases that weigh
    tokens by the attention they get, and numbers by what reads them, are ours.

    Args:
        keys: `PCATable`.
        values: `PCATable`.
        heads: Key/value heads H_kv.
        block: Tokens that are coded together.
    """

    def __init__(self, keys, values, heads, block):
        self.key_table = keys
        self.value_table = values
        self.heads = heads
        self.block = block

    @property
    def table_bytes(self):
        """See `KVCodec`."""
        return self.key_table.table_bytes + self.value_table.table_bytes

    def encode(self, key, value):
        """See `KVCodec`."""
        return {
            f"{name}_{part}": x
            for name, table, numbers in (
                ("key", self.key_table, key),
                ("value", self.value_table, value),
            )
            for part, x in _encoded(table, numbers).items()
        }

    def keys(self, packed, dtype):
        """See `KVCodec`."""
        table = self.key_table
        x = self._decoded(table, *_parts(packed, "key", table), dtype)
        return ops.reshape(x, (*x.shape[:2], self.heads, -1))

    def mix(self, weights, packed):
        """See `KVCodec`: weights meet coefficients, the basis comes last."""
        table, dtype = self.value_table, weights.dtype
        runs, own = _parts(packed, "value", table)
        codes = _unpacked(table, runs, dtype)  # (B, S, kept)
        weighted = weights * ops.cast(gains(own), dtype)[:, None, None, :, 0]
        total = ops.sum(weighted, axis=-1, keepdims=True)
        batch, heads, rows, length = weights.shape
        flat = ops.reshape(weighted, (-1, heads * rows, length))
        mixed = ops.reshape(
            ops.matmul(flat, codes), (-1, heads, rows, table.kept)
        )
        basis, constant = _basis(table, dtype)
        basis = ops.reshape(basis, (table.kept, heads, -1))
        basis = ops.transpose(basis, (1, 0, 2))[None]  # (1, H_kv, kept, D)

        def by_head(x):
            return ops.reshape(ops.cast(x, dtype), (1, heads, 1, -1))

        share = ops.sum(weights, axis=-1, keepdims=True)
        return (
            ops.matmul(mixed, basis)
            + total * by_head(constant)
            + share * by_head(table.mean)
        )

    def _decoded(self, table, runs, own, dtype):
        """Vectors `(B, S, F)`."""
        codes = _unpacked(table, runs, dtype)
        basis, constant = _basis(table, dtype)
        mean = ops.cast(table.mean, dtype)
        return fuse(_finished)(ops.matmul(codes, basis), own, constant, mean)


def coefficients(table, x):
    """What a table's codes stand for, in steps, and gains of tokens.

    Args:
        table: `PCATable`.
        x: `(B, n, H_kv, D)`.

    Returns:
        `(z, own)`: `(B, n, kept)` float32, and uint8 gains `(B, n, 1)`.
    """
    batch, block, heads, width = x.shape
    mean = table.mean.reshape(heads, 1, width)
    x = ops.transpose(ops.cast(x, "float32"), (0, 2, 1, 3)) - mean
    x = ops.matmul(x, ops.convert_to_tensor(table.metric))
    x = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (batch, block, -1))
    rows = (table.backward / table.variances[:, None]).astype("float32")
    z = ops.matmul(x, ops.convert_to_tensor(rows.T))
    power = ops.mean(ops.square(z), axis=-1, keepdims=True)
    own = gain_codes(ops.sqrt(power))
    return z / (gains(own) * table.steps), own


def _encoded(table, x):
    """Runs of packed codes and gains of `(B, n, H_kv, D)`; `(B, 1, n, ..)`."""
    z, own = coefficients(table, x)
    found, start = {"gain": own[:, None]}, 0
    for bits, count in zip(table.widths, table.counts, strict=True):
        half = 2 ** (bits - 1)
        codes = ops.floor(z[..., start : start + count]) + half
        codes = ops.clip(codes, 0, 2 * half - 1)
        found[f"codes{bits}"] = pack(codes, bits)[:, None]
        start += count
    return found


def _parts(packed, name, table):
    """Runs of codes and gains of all blocks as `(B, S, ...)`."""

    def flat(x):
        return ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3]))

    runs = [flat(packed[f"{name}_codes{bits}"]) for bits in table.widths]
    return runs, flat(packed[f"{name}_gain"])


def _unpacked(table, runs, dtype):
    """Codes `(B, S, kept)` as integers around 0."""
    parts = [
        unpack(run, bits, dtype) - 2 ** (bits - 1)
        for run, bits in zip(runs, table.widths, strict=True)
    ]
    return ops.concatenate(parts, axis=-1)


def _basis(table, dtype):
    """Rows that codes are multiplied with, and what a code of 0 stands for."""
    rows = table.backward * table.steps[:, None]
    constant = (0.5 * rows.sum(0)).astype("float32")
    rows = ops.cast(rows.astype("float32"), dtype)
    return rows, ops.convert_to_tensor(constant)


def _finished(product, own, constant, mean):
    """Vectors from products of codes: constant, gain and mean."""
    dtype = product.dtype
    whole = (ops.cast(product, "float32") + constant) * gains(own)
    return ops.cast(whole + ops.cast(mean, "float32"), dtype)
