"""Attention of new tokens over a cache and themselves, as LiteRT operators.

Axes: T new tokens, S cached columns, H query heads, K key/value heads, G = H/K
queries that share one, D head width.
"""

import numpy as np

from tfshrink.deploy.litert.memory import EMPTY
from tfshrink.deploy.litert.memory import OWN
from tfshrink.ops import rotary

PENALTY = 1e6  # of a score, for each position a column is too late


class AttentionGraph:
    """Adds the attention of one block after the other to a graph.

    Both products have the cache as their right factor: XNNPACK copies it into
    panels, but then one pass over them serves all queries that share a head.

    One new token is not joined to the cache, which would copy it once more. Its
    score goes into a column that is kept free for it and whose value is 0; its
    value, times its share, is added to the product. So nothing has to be cut
    off the cache's end, wherever that is, and XNNPACK takes the whole graph.

    Args:
        graph: `Graph`; it gets the inputs `columns`, `keys_NN`, `values_NN`.
        config: `DecoderConfig`.
        tokens: T at first.
        columns: S at first.

    Call arguments:
        joined: Queries, keys and values, `(T, (H + 2 K) D)`.
        block: `FrozenBlock`, for its H and K.
        index: Of the block.

    Returns:
        `(T, H D)`, new keys and new values `(K, T, D)`.
    """

    def __init__(self, graph, config, tokens, columns):
        self.graph = graph
        self.config = config
        self.columns = columns
        self.many = tokens > 1
        self.mask = self.own = self.rotation = None

    def reading(self, positions):
        """Prepares what all blocks share; returns itself.

        Args:
            positions: int32 `(T,)`, of the new tokens.
        """
        graph = self.graph
        rows = graph.cast(positions)
        columns = graph.input("columns", (-self.columns,))
        if self.many:
            columns = graph.concatenate([rows, columns], 0)
            rows = graph.reshape(rows, (-1, 1))
            self.mask = self._visible(rows, graph.reshape(columns, (1, -1)))
        else:
            columns = graph.reshape(columns, (1, 1, -1))
            # 1 at the column marked OWN, 0 at all others.
            marks = graph.multiply(columns, graph.constant(1 / EMPTY))
            marks = graph.subtract(marks, graph.constant(1.0))
            self.own = graph.unary("RELU", marks)
            marks = graph.multiply(self.own, graph.constant(OWN))
            columns = graph.subtract(columns, marks)
            self.mask = self._visible(rows, columns)
        self._prepare_rotation(positions)
        return self

    def _visible(self, rows, columns):
        """What is added to scores: 0 where a column is no later than a row."""
        graph = self.graph
        late = graph.minimum(graph.subtract(rows, columns), graph.constant(0.0))
        return graph.multiply(late, graph.constant(PENALTY))

    def _prepare_rotation(self, positions):
        """What turns queries and keys: a matrix for one token, else tables."""
        if self.config.positions != "rope":
            return
        graph, config = self.graph, self.config
        width = config.head_dim
        inverse = rotary.frequencies(
            width, config.rope_theta, config.rope_scaling
        )
        frequencies = np.concatenate([inverse, inverse])[None]
        rows = graph.reshape(graph.cast(positions), (-1, 1))
        angles = graph.multiply(rows, graph.constant(frequencies))
        scale = graph.constant(width**-0.25)  # of both factors of a score
        cosines = graph.multiply(graph.unary("COS", angles), scale)
        sines = graph.multiply(graph.unary("SIN", angles), scale)
        half = width // 2
        turn = np.zeros((width, width), "float32")  # x @ turn = (-x2, x1)
        turn[np.arange(half) + half, np.arange(half)] = -1.0
        turn[np.arange(half), np.arange(half) + half] = 1.0
        turn = graph.constant(turn)
        if not self.many:
            straight = graph.constant(np.eye(width, dtype="float32"))
            self.rotation = graph.add(
                graph.multiply(straight, cosines), graph.multiply(turn, sines)
            )
        else:
            self.rotation = cosines, sines, turn

    def __call__(self, joined, block, index):
        graph, width, kv = self.graph, self.config.head_dim, block.kv_heads
        cached = kv * self.columns * width
        keys = graph.input(f"keys_{index:02d}", (-cached,))
        values = graph.input(f"values_{index:02d}", (-cached,))
        keys = graph.reshape(keys, (kv, -1, width))
        values = graph.reshape(values, (kv, -1, width))
        attend = self._many_tokens if self.many else self._one_token
        return attend(joined, keys, values, block.heads)

    def _one_token(self, joined, keys, values, heads):
        graph, kv, width = self.graph, keys.shape[0], self.config.head_dim
        shared = heads // kv
        joined = graph.reshape(joined, (heads + 2 * kv, width))
        turned = graph.slice(joined, (0, 0), (heads + kv, width))
        turned = self._rotated(turned)
        value = graph.slice(joined, (heads + kv, 0), (kv, width))
        query = graph.slice(turned, (0, 0), (heads, width))
        key = graph.slice(turned, (heads, 0), (kv, width))
        query = graph.reshape(query, (kv, shared, width))
        key = graph.reshape(key, (kv, 1, width))
        value = graph.reshape(value, (kv, 1, width))
        mixed = self._one_attends(query, key, value, keys, values)
        return graph.reshape(mixed, (1, heads * width)), key, value

    def _one_attends(self, query, key, value, keys, values):
        """Queries `(K, G, D)`, one key and value `(K, 1, D)`."""
        graph = self.graph
        scores = graph.matmul(query, keys, transpose_b=True)
        scores = graph.add(scores, self.mask)  # (K, G, S)
        own = graph.reduce("SUM", graph.multiply(query, key))
        shares = graph.softmax(graph.add(scores, graph.multiply(own, self.own)))
        own = graph.slice(shares, (0, 0, 0), (*query.shape[:2], 1))
        return graph.add(
            graph.matmul(shares, values), graph.multiply(own, value)
        )  # (K, G, D)

    def _rotated(self, x):
        """Heads `(N, D)` of one token, or `(N, T, D)`, turned and scaled."""
        graph = self.graph
        if self.config.positions != "rope":
            scale = self.config.head_dim**-0.25
            return graph.multiply(x, graph.constant(scale))
        if not self.many:
            return graph.matmul(x, self.rotation)
        cosines, sines, turn = self.rotation
        return graph.add(
            graph.multiply(x, cosines),
            graph.multiply(graph.matmul(x, turn), sines),
        )

    def _many_tokens(self, joined, keys, values, heads):
        graph, kv, width = self.graph, keys.shape[0], self.config.head_dim
        joined = graph.reshape(joined, (-1, heads + 2 * kv, width))
        joined = graph.transpose(joined, (1, 0, 2))
        turned = graph.slice(joined, (0, 0, 0), (heads + kv, -1, width))
        turned = self._rotated(turned)
        value = graph.slice(joined, (heads + kv, 0, 0), (kv, -1, width))
        query = graph.slice(turned, (0, 0, 0), (heads, -1, width))
        key = graph.slice(turned, (heads, 0, 0), (kv, -1, width))
        query = graph.reshape(query, (kv, heads // kv, -1, width))
        keys = graph.concatenate([key, keys], 1)
        keys = graph.reshape(keys, (kv, 1, -1, width))
        values = graph.concatenate([value, values], 1)
        values = graph.reshape(values, (kv, 1, -1, width))
        mixed = self._many_attend(query, keys, values)
        mixed = graph.reshape(mixed, (heads, -1, width))
        mixed = graph.transpose(mixed, (1, 0, 2))
        return graph.reshape(mixed, (-1, heads * width)), key, value

    def _many_attend(self, query, keys, values):
        """Queries `(K, G, T, D)`, keys and values `(K, 1, S, D)`."""
        graph = self.graph
        scores = graph.matmul(query, keys, transpose_b=True)
        shares = graph.softmax(graph.add(scores, self.mask))
        return graph.matmul(shares, values)
