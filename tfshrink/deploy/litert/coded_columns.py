"""A cache of one sequence whose older keys and values are coded."""

import json
import math

import numpy as np

from tfshrink.deploy.litert.memory import aligned
from tfshrink.deploy.litert.memory import EMPTY
from tfshrink.deploy.litert.memory import OWN

KV = "kv"  # name of what a file has attached
GROWTH = 4  # blocks of tokens that the coded part grows by
MULTIPLE = 16  # columns of the exact part


class CodedColumns:
    """Sinks and a ring of recent tokens as float32, the others as codes.

    A block of tokens is coded once, when it leaves the window, exactly as
    `layers.coded_kv.CodedKV` does it. The order of columns means nothing, only
    their positions do.

    Args:
        heads: Where each block's heads begin, and their total `(L + 1,)`.
        width: Head width D.
        tables: What `CodedCache.attached` returned.

    Attributes:
        changed: As of `ExactColumns`.
        length: The same.
    """

    def __init__(self, heads, width, tables):
        settings = json.loads(str(tables["settings"]))
        self.heads = heads
        self.width = width
        self.block = settings["block"]
        self.window = settings["window"]
        self.sinks = settings["sinks"]
        self.ring = self.window + self.block
        self.chunk = math.gcd(self.block, self.window)
        self.codec = CODECS[settings["kind"]](tables, settings, heads, width)
        self.length = self.coded = 0
        columns = 1 + self.sinks + self.ring
        columns = -(-columns // MULTIPLE) * MULTIPLE
        self._exact = [
            aligned(heads[-1] * columns * width).reshape(heads[-1], -1, width)
            for _ in range(2)
        ]
        self.columns = aligned(columns)
        self.rewind(0)
        self._arrays = {}
        self._grow()

    def parts(self, count):
        """Slices of new tokens, in each of which nothing more is coded."""
        first = min(-self.length % self.chunk, count)
        edges = [0, *range(first, count, self.chunk), count]
        return [
            slice(a, b) for a, b in zip(edges, edges[1:], strict=False) if a < b
        ]

    even_parts = parts

    def begin(self, count):
        """As of `ExactColumns`."""

    def make_room(self, count):
        """Codes the blocks that leave when so many tokens come."""
        wanted = self._coded_at(self.length + count - 1)
        while self.coded < wanted:
            if self.coded == self._blocks:
                self._grow()
            self._code()

    def append(self, keys, values, last):
        """As of `ExactColumns`; at most `chunk` tokens."""
        stop = self.length + keys.shape[1]
        places = np.arange(self.length, stop)
        slots = self._slots(places)
        for cache, new in zip(self._exact, (keys, values), strict=True):
            cache[:, slots] = new
        self.columns[slots] = places
        self.length = stop

    def rewind(self, length):
        """As of `ExactColumns`: to nothing where what stays is coded."""
        length = min(length, self.length)
        coded = self._coded_at(length - 1)
        if coded * self.block < self.length - self.ring:
            length = coded = 0
        self.length = length
        self.columns[:] = EMPTY
        self.columns[0] = OWN
        kept = np.arange(coded * self.block, length)
        kept = np.concatenate([np.arange(min(self.sinks, length)), kept])
        self.columns[self._slots(kept)] = kept
        if coded < self.coded:
            for index in range(coded, self.coded):
                self._mark(index, np.full(self.block, EMPTY))
        self.coded = coded
        return length

    def array(self, name):
        """As of `ExactColumns`."""
        if name == "columns":
            return self.columns
        kind, _, index = name.partition("_")
        if kind in ("keys", "values"):
            start, stop = self.heads[int(index) :][:2]
            return self._exact[kind == "values"][start:stop]
        return self._arrays.get(name)

    def nbytes(self):
        """Bytes of everything that the cache holds now."""
        arrays = *self._exact, self.columns, *self._arrays.values()
        return sum(array.nbytes for array in arrays)

    def _coded_at(self, last):
        """Blocks that are coded while token `last` is the newest."""
        return max(last - self.window, 0) // self.block

    def _slots(self, places):
        """Columns of the exact part that hold tokens."""
        ring = self.sinks + places % self.ring
        return 1 + np.where(places < self.sinks, places, ring)

    def _grow(self):
        """Makes room for more blocks; keeps what is coded."""
        blocks = self.coded + GROWTH
        found = {}
        for name, (shape, axis, dtype) in self._shapes(blocks).items():
            own = aligned(math.prod(shape), dtype).reshape(shape)
            old = self._arrays.get(name)
            if old is not None:
                part = [slice(None)] * own.ndim
                part[axis] = slice(old.shape[axis])
                own[tuple(part)] = old
            found[name] = own
        marks = found["coded_columns"]
        marks[:, self.coded * marks.shape[1] // blocks :] = EMPTY
        self._arrays, self._blocks, self.changed = found, blocks, True

    def _shapes(self, blocks):
        """Shape, axis of tokens and type of each array."""
        codec, tokens = self.codec, blocks * self.block
        half = tokens // codec.halves
        found = {"coded_columns": ((codec.halves, half), 1, "float32")}
        if codec.waves:
            shape = codec.halves, half, self.width
            found["coded_waves"] = shape, 1, "float32"
        for index in range(len(self.heads) - 1):
            for name, own in codec.shapes(index, tokens).items():
                found[f"{name}_{index:02d}"] = own
        return found

    def _code(self):
        """Codes the next block."""
        places = np.arange(self.block) + self.coded * self.block
        slots = self._slots(places)
        keys, values = (cache[:, slots] for cache in self._exact)
        for index in range(len(self.heads) - 1):
            rows = slice(*self.heads[index:][:2])
            new = self.codec.encode(index, keys[rows], values[rows], places)
            for name, array in new.items():
                target = self._arrays[f"{name}_{index:02d}"]
                axis = self.codec.shapes(index, self.block)[name][1]
                size = array.shape[axis]
                part = [slice(None)] * target.ndim
                part[axis] = slice(self.coded * size, (self.coded + 1) * size)
                target[tuple(part)] = array
        self._mark(self.coded, np.where(places < self.sinks, EMPTY, places))
        if self.codec.waves:
            target = self._arrays["coded_waves"]
            waves = self.codec.waves_at(places)
            waves = waves.reshape(target.shape[0], -1, self.width)
            size = waves.shape[1]
            target[:, self.coded * size : (self.coded + 1) * size] = waves
        leaving = slots[places >= self.sinks]
        self.columns[leaving] = EMPTY
        self.coded += 1

    def _mark(self, index, marks):
        """Sets the positions of a block's columns."""
        target = self._arrays["coded_columns"]
        marks = marks.reshape(target.shape[0], -1)
        size = marks.shape[1]
        target[:, index * size : (index + 1) * size] = marks


class IntegerColumns:
    """Keys in integers a channel of a block, values in integers a token.

    The counterpart of `layers.int_codec.IntCodec`, keys after RoPE. Two
    4-bit codes share a byte: channels d and d + D / 2.
    """

    halves = 1
    waves = False

    def __init__(self, tables, settings, heads, width):
        self.bits = settings["bits"]
        self.block = settings["block"]
        self.heads = heads
        self.width = width

    def shapes(self, index, tokens):
        """Shape, axis of tokens and type of a block's arrays."""
        kv = self.heads[index + 1] - self.heads[index]
        wide = self.width * self.bits // 8
        blocks = tokens // self.block
        found = {}
        for name in ("key", "value"):
            found[f"{name}_codes"] = (kv, tokens, wide), 1, "int8"
        for part in ("step", "low"):
            found[f"key_{part}"] = (kv, blocks, self.width), 1, "float32"
            found[f"value_{part}"] = (kv, tokens), 1, "float32"
        return found

    def encode(self, index, key, value, places):
        """What is kept of keys and values `(K, block, D)`.

        Keys are as the graphs have them: after RoPE, times D^-1/4.
        """
        found = {}
        for name, x, axis in (("key", key, 1), ("value", value, 2)):
            top = 2**self.bits - 1
            low = _as_bfloat16(x.min(axis, keepdims=True))
            step = np.maximum(x.max(axis, keepdims=True) - low, 1e-12) / top
            step = _as_bfloat16(step)
            codes = np.clip(np.rint((x - low) / step), 0, top)
            if self.bits == 4:
                first, second = np.split(codes, 2, axis=-1)
                codes = first + 16.0 * second
            found[f"{name}_codes"] = (codes - 128.0).astype("int8")
            squeezed = None if name == "key" else -1
            for part, own in (("step", step), ("low", low)):
                own = own if squeezed is None else own.squeeze(squeezed)
                found[f"{name}_{part}"] = own.astype("float32")
        return found


class PrincipalColumns:
    """Principal components of 4 bits, or 8 as two columns.

    The counterpart of `layers.direct_codec.DirectCodec`. Two tokens share a
    byte: one of the first half of a block and one of the second.
    """

    halves = 2

    def __init__(self, tables, settings, heads, width):
        self.tables = tables
        self.width = width
        self.scale = width**-0.25  # of keys in the graphs
        self.columns = settings["columns"]
        self.frequencies = tables.get("frequencies")
        self.waves = self.frequencies is not None

    def shapes(self, index, tokens):
        """Shape, axis of tokens and type of a block's arrays."""
        found = {}
        for name in ("key", "value"):
            shape = tokens // 2, self.columns[name]
            found[f"{name}_codes"] = shape, 0, "int8"
            found[f"{name}_gain"] = (2, tokens // 2), 1, "float32"
        return found

    def waves_at(self, places):
        """Cosines and sines of the angles at positions, `(n, D)`."""
        angles = places[:, None] * self.frequencies
        return np.concatenate([np.cos(angles), np.sin(angles)], 1)

    def encode(self, index, key, value, places):
        """As of `IntegerColumns`."""
        centre = self.tables[f"{index:02d}/centre"][:, None]  # (K, 1, D)
        if self.waves:
            cosine, sine = np.split(self.waves_at(places), 2, axis=1)
            first, second = np.split(centre, 2, axis=2)
            centre = np.concatenate(
                [
                    first * cosine - second * sine,
                    second * cosine + first * sine,
                ],
                axis=2,
            )
        found = {}
        for name, x in (("key", key / self.scale - centre), ("value", value)):
            codes, gain = self._encoded(f"{index:02d}/{name}", x)
            half = len(codes) // 2
            codes = codes[:half] + 16.0 * codes[half:]
            found[f"{name}_codes"] = (codes - 128.0).astype("int8")
            found[f"{name}_gain"] = gain.reshape(2, half).astype("float32")
        return found

    def _encoded(self, name, x):
        """Codes from 0 to 15 `(block, columns)`, and gains `(block,)`."""
        rows = x.transpose(1, 0, 2).reshape(x.shape[1], -1)
        mean, forward, steps, wide = (
            self.tables[f"{name}_{part}"]
            for part in ("mean", "forward", "steps", "wide")
        )
        z = (rows - mean) @ forward
        power = np.sqrt(np.square(z).mean(1))
        octaves = np.rint(8.0 * np.log2(np.maximum(power, 1e-6)))
        gain = 2.0 ** (np.clip(octaves, -128, 127) / 8.0)
        z = np.floor(z / (gain[:, None] * steps))
        wide = int(wide)
        eight = np.clip(z[:, :wide] + 128.0, 0, 255)
        high = np.floor(eight / 16.0)
        four = np.clip(z[:, wide:] + 8.0, 0, 15)
        return np.concatenate([high, eight - 16.0 * high, four], 1), gain


def _as_bfloat16(x):
    """Float32 numbers rounded as bfloat16 is, half to even."""
    bits = np.ascontiguousarray(x, "float32").view("uint32")
    bits = bits + 0x7FFF + (bits >> 16 & 1)
    return (bits & 0xFFFF0000).astype("uint32").view("float32")


CODECS = {"int": IntegerColumns, "pca": PrincipalColumns}
