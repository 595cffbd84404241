"""A block's keys and values: new ones exact, older ones coded."""

import copy
import functools
import math

import keras
import numpy as np
from keras import ops

from tfshrink.backend import by_xla
from tfshrink.fusion import fuse
from tfshrink.ops import attention
from tfshrink.ops import rotary
from tfshrink.ops.byte_rows import byte_rows
from tfshrink.ops.byte_rows import from_byte_rows

SEEN = ("visible", "forward", "waves")  # of a step, what attention reads
_PROGRAMS = {}  # of `_in_one`


class CodedKV:
    """One block's share of a cache that holds coded keys and values.

    The first tokens of a sequence (sinks) and the last `window` ones stay
    exact. A block of tokens is coded once, when it leaves the window; until
    then the exact part holds up to `window + block` tokens. Token after token
    and in steps of `chunk` tokens the same blocks are coded at the same time.

    The state is a dict: `keys` and `values`, the exact part, sinks first and a
    ring behind, keys after RoPE; and what the codec keeps.

    Args:
        config: `DecoderConfig`.
        length: Cached length S, in tokens.
        codec: `KVCodec`.
        window: Tokens that stay exact, at least.
        sinks: First tokens of a sequence that stay exact.
        dtype: Storage type of the exact part; `"int8"` rounds each row.

    Attributes:
        kind: As in `ExactKV`.
        chunk: The same.
    """

    def __init__(self, config, length, codec, *, window, sinks, dtype):
        self.config = config
        self.codec = codec
        self.window = window
        self.sinks = sinks
        self.dtype = dtype
        self.block = codec.block
        self.ring = window + self.block
        self.coded = max(0, length - 1 - window) // self.block  # blocks
        self.chunk = math.gcd(self.block, window)
        self.kind = (self.block, window, sinks, length)

    def create(self, batch):
        """Returns the empty state for `batch` sequences."""
        heads, width = self.config.kv_heads, self.config.head_dim
        rows = ops.zeros((batch, heads, self.sinks + self.ring, width))
        state = {
            "keys": byte_rows(rows, self.dtype),
            "values": byte_rows(rows, self.dtype),
        }
        if self.coded:
            state["packed"] = self.codec.create(batch, self.coded, heads, width)
        return state

    def begin(self, column, pad, count):
        """As in `ExactKV`; steps have at most `chunk` tokens, or one.

        With a window of 0 they must not cross a multiple of `chunk`: the
        block that they finish would be coded before they are in it.
        """
        column = ops.cast(column, "int32")
        pad = ops.cast(pad, "int32")[:, None]  # (B, 1)
        columns = column + ops.arange(count, dtype="int32")
        last = column + count - 1
        before = self._coded_at(column - 1)
        after = self._coded_at(last)
        behind = ops.arange(self.block, dtype="int32")
        leaving = before * self.block + behind  # if `after` is more
        step = {
            "leaves": after > before,
            "place": before,
            "from": self._slots(leaving[None], pad),
            "real": leaving[None] >= pad,
            "to": self._slots(columns[None], pad),
            "visible": self._visible(columns, last, pad, after),
        }
        if self.config.positions == "rope":
            step["leaving"] = self._rotation(leaving, pad)
            step["forward"] = rotary.tables(pad, self._frequencies())
            step["waves"] = ops.convert_to_tensor(self._waves)
        return step

    def _frequencies(self):
        config = self.config
        return rotary.frequencies(
            config.head_dim, config.rope_theta, config.rope_scaling
        )

    def _rotation(self, columns, pad):
        """Tables of RoPE at columns `(n,)` of all sequences."""
        places = ops.maximum(columns[None] - pad, 0)
        return rotary.tables(places, self._frequencies())

    @functools.cached_property
    def _waves(self):
        """Cosines and sines of the coded columns' angles, `(D, n)`.

        They are constants, for no sequence has places of its own: a query is
        turned on by its padding instead.
        """
        places = np.arange(self.coded * self.block, dtype="float32")
        angles = self._frequencies()[:, None] * places
        return np.concatenate([np.cos(angles), np.sin(angles)])

    def _columns(self):
        """The same as tables of RoPE, `(1, n, 1, D)`."""
        cosine, sine = np.split(self._waves.T, 2, axis=-1)
        return tuple(
            np.concatenate([x, x], axis=-1)[None, :, None]
            for x in (cosine, sine)
        )

    def _coded_at(self, last):
        """Blocks that are coded while `last` is the newest column."""
        return ops.maximum(last - self.window, 0) // self.block

    def _slots(self, columns, pad):
        """Where the exact part holds columns, `(B, n)`."""
        place = columns - pad
        sink = ops.logical_and(place >= 0, place < self.sinks)
        return ops.where(sink, place, self.sinks + columns % self.ring)

    def _visible(self, columns, last, pad, coded):
        """Who may look where: coded columns, sinks, ring; `(B, T, S)`."""
        first = pad + self.sinks
        old = ops.arange(self.coded * self.block, dtype="int32")[None]
        old_seen = (old < coded * self.block) & (old >= first)
        ring = ops.arange(self.ring, dtype="int32")[None]
        ring = last - (last - ring) % self.ring  # the column it holds
        held = (ring >= coded * self.block) & (ring >= first)
        sinks = pad + ops.arange(self.sinks, dtype="int32")[None]
        exact = ops.concatenate([sinks, ops.where(held, ring, 2**30)], axis=-1)
        exact = exact[:, None] <= columns[None, :, None]  # (B, T, s + R)
        batch, length = exact.shape[:2]
        old_seen = ops.broadcast_to(
            old_seen[:, None], (batch, length, old_seen.shape[-1])
        )
        return ops.concatenate([old_seen, exact], axis=-1)

    def append(self, state, key, value, step):
        """As in `ExactKV`; codes the block that leaves the window."""
        state = dict(state)
        if self.coded:
            names = sorted(state["packed"])
            held = [state["packed"][name] for name in names]

            def encode():
                return self._encoded(state, names, step)

            packed = ops.cond(step["leaves"], encode, lambda: held)
            state["packed"] = dict(zip(names, packed, strict=True))
        for name, new in (("keys", key), ("values", value)):
            new = ops.transpose(new, (0, 2, 1, 3))
            new = byte_rows(new, self.dtype)
            state[name] = {
                part: _scatter(state[name][part], new[part], step["to"])
                for part in new
            }
        return state

    def _encoded(self, state, names, step):
        """What the codec keeps, with one block of tokens more."""
        key, value = (
            self._leaving(state[name], step) for name in ("keys", "values")
        )
        new = self.codec.encode(self._coded_form(key, step), value)
        found = []
        for name in names:
            old = state["packed"][name]
            start = [0, step["place"], *[0] * (len(old.shape) - 2)]
            found.append(ops.slice_update(old, start, new[name]))
        return found

    def _coded_form(self, key, step):
        """Keys `(B, block, H_kv, D)` as the codec takes them."""
        codec, turns = self.codec, step.get("leaving")
        if not codec.rotated:
            return rotary.rotate(key, turns[0], -turns[1]) if turns else key
        if codec.centre is None:
            return key
        centre = ops.convert_to_tensor(codec.centre)[None, None]
        if turns:
            centre = rotary.rotate(centre, *turns)
        return key - centre

    def _leaving(self, stored, step):
        """Tokens of the block that leaves, `(B, block, H_kv, D)` float32."""
        rows = {part: _gather(x, step["from"]) for part, x in stored.items()}
        x = ops.transpose(from_byte_rows(rows, "float32"), (0, 2, 1, 3))
        # What padding made says nothing: it must not reach its neighbours.
        real = step["real"][:, :, None, None]
        x = ops.where(real, x, 0.0)
        count = ops.sum(ops.cast(real, x.dtype), axis=1, keepdims=True)
        mean = ops.sum(x, axis=1, keepdims=True) / ops.maximum(count, 1.0)
        return ops.where(real, x, mean)

    def attend(self, query, state, step):
        """As in `ExactKV`; one token of one sequence is one compiled function.

        Its parts one by one are faster for several sequences, and slower for
        one.
        """
        whole = self.coded and self.codec.signature is not None
        if whole and query.shape[:2] == (1, 1):
            names = [name for name in SEEN if name in step]
            step = {name: step[name] for name in names}
            return _in_one(self, query, state, step)
        return self._attend(query, state, step)

    def _attend(self, query, state, step):
        length, dtype = query.shape[1], query.dtype
        heads = self.config.kv_heads
        grouped = attention.by_group(query, heads)
        keys, values = (
            _exact(state[name], dtype) for name in ("keys", "values")
        )
        scores = ops.matmul(grouped, ops.transpose(keys, (0, 1, 3, 2)))
        visible = step["visible"]
        if not self.coded:
            weights = attention.weights_of(scores, visible)
            return attention.by_token(ops.matmul(weights, values), length)
        old = self._old_scores(grouped, state["packed"], step)
        scores = ops.concatenate([old, scores], axis=-1)
        weights = attention.weights_of(scores, visible)
        split = self.coded * self.block
        out = ops.matmul(weights[..., split:], values)
        out = out + self.codec.mix(weights[..., :split], state["packed"])
        return attention.by_token(out, length)

    def _old_scores(self, query, packed, step):
        """Scores of coded keys, `(B, H_kv, R, S)`, of queries by group."""
        codec, dtype = self.codec, query.dtype
        if "forward" not in step:  # without RoPE
            scores = codec.scores(query, packed)
            if not codec.rotated or codec.centre is None:
                return scores
            centre = ops.cast(codec.centre, dtype)[None, :, :, None]
            return scores + ops.matmul(query, centre)
        if codec.rotated and codec.centre is None:
            return codec.scores(query, packed)
        # Keys stand at columns: queries are turned on by the padding.
        if codec.rotated:
            parts = fuse(_of_one_key)(query, codec.centre, *step["forward"])
            centre = ops.matmul(parts, ops.cast(step["waves"], dtype))
            return codec.scores(query, packed) + centre
        turned = rotary.rotate(query, *step["forward"])
        keys = rotary.rotate(codec.keys(packed, dtype), *self._columns())
        return ops.matmul(turned, ops.transpose(keys, (0, 2, 3, 1)))


def _in_one(store, query, state, step):
    """`_attend` compiled, once for all blocks whose codecs are of a kind."""
    nest = (query, state, step, store.codec.tables)
    key = (store.kind, store.dtype, store.codec.signature)
    key += (str(query.dtype), *step)
    if key not in _PROGRAMS:
        places = keras.tree.map_structure(lambda x: 0, nest)

        def run(*flat):
            query, *rest, tables = keras.tree.pack_sequence_as(places, flat)
            own = copy.copy(store)
            own.codec = store.codec.bound(tables)
            # XLA on a CPU multiplies float32 faster than half of it.
            out = own._attend(ops.cast(query, "float32"), *rest)
            return ops.cast(out, query.dtype)

        _PROGRAMS[key] = run
    return fuse(_PROGRAMS[key])(*keras.tree.flatten(nest))


def _exact(rows, dtype):
    """Rows `(B, H_kv, S, D)` of the exact part in a compute type."""
    if "rows" in rows:
        return from_byte_rows(rows, dtype)
    return fuse(_decoder(dtype))(rows["codes"], rows["scales"])


@functools.cache
def _decoder(dtype):
    return lambda codes, scales: from_byte_rows(
        {"codes": codes, "scales": scales}, dtype
    )


def _of_one_key(query, key, cosine, sine):
    """What gives scores of a key at each place when waves multiply it.

    Args:
        query: `(B, H_kv, R, D)`.
        key: `(H_kv, D)`, not turned.
        cosine: Of the turn from places to columns.
        sine: The same.

    Returns:
        `(B, H_kv, R, D)`: what cosines multiply, and what sines do.
    """
    half = query.shape[-1] // 2
    wide = rotary.rotate(ops.cast(query, "float32"), cosine, sine)
    key = ops.cast(key, "float32")[None, :, None]
    both = wide * key
    across = wide[..., half:] * key[..., :half]
    across = across - wide[..., :half] * key[..., half:]
    parts = [both[..., :half] + both[..., half:], across]
    return ops.cast(ops.concatenate(parts, axis=-1), query.dtype)


def _gather(x, slots):
    """Columns of `(B, H_kv, S, D)` at slots `(B, n)`."""
    batch, heads, _, width = x.shape
    shape = (batch, heads, slots.shape[1], width)
    places = ops.broadcast_to(slots[:, None, :, None], shape)
    return ops.take_along_axis(x, places, axis=2)


def _scatter(x, new, slots):
    """`(B, H_kv, S, D)` with `(B, H_kv, T, D)` at slots `(B, T)`."""
    batch, heads, count, width = new.shape
    if by_xla() and batch == count == 1:  # a scatter is a loop there
        return ops.slice_update(x, (0, 0, slots[0, 0], 0), new)
    rows, columns, _ = np.indices((batch, heads, count), "int32")
    slots = ops.broadcast_to(slots[:, None], rows.shape)
    places = ops.stack([rows, columns, slots], axis=-1)
    return ops.scatter_update(
        x, ops.reshape(places, (-1, 3)), ops.reshape(new, (-1, width))
    )
