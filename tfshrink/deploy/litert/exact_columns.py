"""A cache of one sequence that keeps every key and value as float32."""

import numpy as np

from tfshrink.deploy.litert.memory import aligned
from tfshrink.deploy.litert.memory import EMPTY
from tfshrink.deploy.litert.memory import OWN

STEP = 64  # columns that the cache grows by while decoding
TIGHT = 16  # columns that it is a multiple of between parts of a prompt
CHUNK = 192  # new tokens a call at most: longer ones see more that is too late


class ExactColumns:
    """Keys, values and positions of all tokens so far, a column each.

    The first column is no token's: it is kept free for a new one's score.

    Args:
        heads: Where each block's heads begin, and their total `(L + 1,)`.
        width: Head width D.

    Attributes:
        changed: Whether memory moved since this was last set to false.
    """

    def __init__(self, heads, width):
        self.heads = heads
        self.width = width
        self.length = 0
        self.changed = True
        self._rooms = [aligned(0), aligned(0)]
        self._resize(STEP)

    def parts(self, count):
        """Slices of so many new tokens, each what one call takes."""
        return [
            slice(start, min(start + CHUNK, count))
            for start in range(0, count, CHUNK)
        ]

    def even_parts(self, count):
        """The same, none of a single token where there are several."""
        edges = np.linspace(0, count, -(-count // CHUNK) + 1).astype(int)
        return [slice(a, b) for a, b in zip(edges, edges[1:], strict=False)]

    def begin(self, count):
        """Before a text of so many tokens: no longer than it must be."""
        tight = _columns_for(self.length, TIGHT)
        if count > 1 and tight < len(self.columns):
            self._resize(tight)

    def make_room(self, count):
        """Before each call with so many new tokens."""

    def append(self, keys, values, last):
        """Keeps new tokens.

        Args:
            keys: `(heads, T, D)`.
            values: The same.
            last: Whether decoding follows, and no other part of a prompt.
        """
        stop = self.length + keys.shape[1]
        columns = _columns_for(stop, STEP if last else TIGHT)
        if columns > len(self.columns):
            self._resize(columns)
        own = slice(1 + self.length, 1 + stop)
        self._keys[:, own], self._values[:, own] = keys, values
        self.columns[own] = np.arange(self.length, stop)
        self.length = stop

    def rewind(self, length):
        """Forgets all but the first tokens; returns how many are kept."""
        self.length = min(length, self.length)
        if _columns_for(self.length, STEP) < len(self.columns):
            self._resize(_columns_for(self.length, STEP))
        self.columns[1 + self.length :] = EMPTY
        return self.length

    def array(self, name):
        """Memory of an input of the graphs, or `None` where it is not ours."""
        if name == "columns":
            return self.columns
        kind, _, index = name.partition("_")
        if kind not in ("keys", "values"):
            return None
        cache = self._keys if kind == "keys" else self._values
        start, stop = self.heads[int(index) :][:2]
        return cache[start:stop]

    def _resize(self, columns):
        """Gives the cache another number of columns; keeps what it holds."""
        heads, width = self.heads[-1], self.width
        size = heads * columns * width
        keys, values = (
            part.reshape(heads, columns, width)
            for part in np.split(self._room(2 * size), 2)
        )
        marks = aligned(columns)
        marks[:] = EMPTY
        marks[0] = OWN
        used = slice(1, 1 + self.length)
        for cache, old in ((keys, "_keys"), (values, "_values")):
            if self.length:
                cache[:, used] = getattr(self, old)[:, used]
            cache[:, 0] = 0.0
            cache[:, used.stop :] = 0.0  # no share of it may be NaN
        if self.length:
            marks[used] = self.columns[used]
        self._keys, self._values, self.columns = keys, values, marks
        self.changed = True

    def _room(self, size):
        """Memory of the next cache, beside that of the present one.

        Fresh pages cost more than what is written on them: two pieces of memory
        take turns, and only the longest text so far asks for new ones.
        """
        self._rooms.reverse()
        if self._rooms[0].size < size:
            self._rooms[0] = aligned(size)
        return self._rooms[0][:size]


def _columns_for(length, step):
    """Columns of a cache of `length` tokens: one more, in whole steps."""
    return step * (length // step + 1)
