"""Keys and values transformed along time, without calibration."""

import functools

import numpy as np
from keras import ops

from tfshrink.layers.kv_codec import KVCodec
from tfshrink.ops.bit_allocation import allocate
from tfshrink.ops.byte_rows import byte_rows
from tfshrink.ops.byte_rows import from_byte_rows
from tfshrink.ops.gains import gain_codes
from tfshrink.ops.gains import gains
from tfshrink.ops.packing import pack
from tfshrink.ops.packing import unpack
from tfshrink.ops.packing import WIDTHS

LEFT = (1.0, 0.3634, 0.1188, 0.0115, 0.0001)  # of a unit Gaussian, midrise
STEPS = {1: 1.597, 2: 0.997, 4: 0.336, 8: 0.031}  # that leave it
SPREAD = {"key": 6.0, "value": 1.5}  # of channels' powers, standard dB
RUN = 8  # channels that share a bit-width, so that they fill bytes


class TimeCodec(KVCodec):
    """Coefficients of an orthonormal basis along the tokens of a block.

    The mean of each channel over a block is kept apart; what varies is
    transformed, and divided by a gain of its channel and one of its
    coefficient. Channels are sorted by their gains, which the decoder knows,
    and the first ones have most bits: how many have which width is fixed.
    Values are mixed in the transform domain.

    Args:
        basis: `(block, block)` orthonormal rows along time.
        heads: Key/value heads H_kv.
        width: Head width D.
        token_bytes: Bytes of a coded token's keys, its share of means and
            gains included; its values have as many.
        rotated: Whether keys are coded after RoPE.
    """

    def __init__(self, basis, heads, width, token_bytes, *, rotated=False):
        self.basis = np.asarray(basis, "float32")
        self.block = len(self.basis)
        self.heads = heads
        self.width = width
        self.rotated = rotated
        budget = int(token_bytes - side_bytes(self.block, heads, width))
        self.runs = {
            name: profile(heads * width, spread, max(budget, 0))
            for name, spread in SPREAD.items()
        }

    def encode(self, key, value):
        """See `KVCodec`."""
        return {
            f"{name}_{part}": x
            for name, numbers in (("key", key), ("value", value))
            for part, x in self._encoded(name, numbers).items()
        }

    def _encoded(self, name, x):
        x = ops.cast(x, "float32")
        batch, block = x.shape[:2]
        means = byte_rows(ops.mean(x, axis=1, keepdims=True), "int8")
        x = x - from_byte_rows(means, "float32")
        x = ops.reshape(x, (batch, block, -1))
        z = ops.matmul(ops.convert_to_tensor(self.basis), x)
        channels = gain_codes(_power(z, 1))  # (B, 1, F)
        z = z / gains(channels)
        rows = gain_codes(_power(z, 2))  # (B, n, 1)
        z = z / gains(rows)
        sort = _sorting(channels, self.kept(name))  # (B, 1, kept, F)
        z = ops.matmul(z, ops.transpose(sort[:, 0], (0, 2, 1)))
        found = {
            "channels": channels[:, None],
            "rows": rows[:, None],
            **{f"mean_{part}": y[:, None] for part, y in means.items()},
        }
        start = 0
        for bits, count in self.runs[name]:
            half = 2 ** (bits - 1)
            own = z[..., start : start + count] / STEPS[bits]
            codes = ops.clip(ops.floor(own) + half, 0, 2 * half - 1)
            found[f"codes{bits}"] = pack(codes, bits)[:, None]
            start += count
        return found

    def keys(self, packed, dtype):
        """See `KVCodec`."""
        z = self._coefficients("key", packed, dtype)  # (B, m, n, kept)
        basis = ops.cast(self.basis, dtype)
        x = ops.matmul(ops.transpose(basis), z)
        x = ops.matmul(x, self._spread("key", packed, dtype))
        _, blocks, block, _ = x.shape
        x = ops.reshape(x, (-1, blocks, block, self.heads, self.width))
        x = x + self._means("key", packed, dtype)
        return ops.reshape(x, (-1, blocks * block, self.heads, self.width))

    def mix(self, weights, packed):
        """See `KVCodec`: weights are transformed, values are not."""
        dtype = weights.dtype
        _, heads, rows, length = weights.shape
        block = self.block
        blocks = length // block
        shape = (-1, heads * rows, blocks, block)
        by_block = ops.reshape(weights, shape)
        moved = ops.transpose(by_block, (0, 2, 1, 3))  # (B, m, H R, n)
        basis = ops.cast(self.basis, dtype)
        moved = ops.matmul(moved, ops.transpose(basis))
        z = self._coefficients("value", packed, dtype)  # (B, m, n, kept)
        mixed = ops.matmul(moved, z)  # (B, m, H R, kept)
        mixed = ops.matmul(mixed, self._spread("value", packed, dtype))
        mixed = ops.reshape(
            ops.sum(mixed, axis=1), (-1, heads, rows, heads, self.width)
        )
        own = ops.transpose(
            ops.diagonal(mixed, axis1=1, axis2=3), (0, 3, 1, 2)
        )  # (B, H, R, D)
        means = self._means("value", packed, dtype)[:, :, 0]  # (B, m, H, D)
        shares = ops.reshape(
            ops.sum(by_block, axis=-1), (-1, heads, rows, blocks)
        )
        return own + ops.matmul(shares, ops.transpose(means, (0, 2, 1, 3)))

    def kept(self, name):
        """Channels of keys or values that have bits."""
        return sum(count for _, count in self.runs[name])

    def _spread(self, name, packed, dtype):
        """From sorted channels to their places, gains in it; `(.., kept, F)`.

        A product with a matrix of few numbers is far faster than a gather.
        """
        channels = packed[f"{name}_channels"]  # (B, m, 1, F)
        sort = _sorting(channels[:, :, 0], self.kept(name))
        return ops.cast(sort * gains(channels), dtype)

    def _coefficients(self, name, packed, dtype):
        """Coefficients of sorted channels, their gains not yet in them."""
        parts = []
        for bits, _ in self.runs[name]:
            codes = unpack(packed[f"{name}_codes{bits}"], bits, dtype)
            middle = 0.5 - 2 ** (bits - 1)
            parts.append((codes + middle) * STEPS[bits])
        z = ops.concatenate(parts, axis=-1)
        return z * ops.cast(gains(packed[f"{name}_rows"]), dtype)

    def _means(self, name, packed, dtype):
        """Means of blocks, `(B, m, 1, H_kv, D)`."""
        parts = {
            part: packed[f"{name}_mean_{part}"] for part in ("codes", "scales")
        }
        return from_byte_rows(parts, dtype)


def side_bytes(block, heads, width):
    """Bytes a token of means and gains."""
    numbers = heads * width
    return 1 + (2 * numbers + 2 * heads) / block


@functools.cache
def profile(numbers, spread, budget):
    """How many channels, most powerful first, have which bit-width.

    Args:
        numbers: Channels of all heads F.
        spread: Standard deviation of their powers, dB; they count as
            log-normal.
        budget: Bytes of a token's codes.

    Returns:
        Tuple of `(bits, count)`, most bits first.
    """
    from scipy.special import ndtri

    items = -(-numbers // RUN)
    places = (np.arange(items * RUN) + 0.5) / (items * RUN)
    powers = 10 ** (spread * ndtri(1 - places) / 10)
    powers[numbers:] = 0.0
    left = np.outer(LEFT, powers).reshape(len(LEFT), items, RUN).sum(-1)
    level = allocate(left, [0, *WIDTHS], budget)
    widths = np.repeat(np.array([0, *WIDTHS])[level], RUN)[:numbers]
    return tuple(
        (bits, int((widths == bits).sum()))
        for bits in reversed(WIDTHS)
        if (widths == bits).any()
    )


def _power(z, axis):
    """Root mean square over an axis, which stays."""
    return ops.sqrt(ops.mean(ops.square(z), axis=axis, keepdims=True))


def _sorting(channels, kept):
    """Ones where a sorted channel comes from.

    Args:
        channels: Codes of gains `(B, m, F)`.
        kept: Channels of the most powerful that stay.

    Returns:
        `(B, m, kept, F)` float32.
    """
    count = channels.shape[-1]
    ranks = -ops.cast(channels, "int32") * count
    ranks = ranks + ops.arange(count, dtype="int32")  # no two are alike
    order = ops.argsort(ranks, axis=-1)[..., :kept]
    return ops.one_hot(order, count, dtype="float32")
