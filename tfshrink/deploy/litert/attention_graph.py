"""Attention of new tokens over a cache and themselves, as LiteRT operators.

Axes: T new tokens, S cached columns, H query heads, K key/value heads, G = H/K
queries that share one, D head width.
"""

import numpy as np

from tfshrink.ops import rotary

PENALTY = 1e6  # of a score, for each position a column is too late


class AttentionGraph:
    """Adds the attention of one block after the other to a graph.

    For one token both products have the cache as their left factor, which
    XNNPACK does not repack, and the rotation is one small matrix. For several
    the new keys and values are joined to the cache.

    Args:
        graph: `Graph`; it gets the inputs `columns`, `keys_NN`, `values_NN`.
        config: `DecoderConfig`.
        tokens: T at first.
        columns: S at first.

    Call arguments:
        joined: Queries, keys and values, `(T, (H + 2 K) D)`.
        index: Of the block.

    Returns:
        `(T, H D)`, new keys `(1, K, T, D)`, new values `(1, K, D, T)`.
    """

    def __init__(self, graph, config, tokens, columns):
        self.graph = graph
        self.config = config
        self.columns = columns
        self.many = tokens > 1
        self.mask = self.rotation = None

    def reading(self, positions):
        """Prepares what all blocks share; returns itself.

        Args:
            positions: int32 `(T,)`, of the new tokens.
        """
        self.mask = self._visible(positions)
        self._prepare_rotation(positions)
        return self

    def _visible(self, positions):
        """What is added to scores: 0 where a column is no later than a row.

        Returns:
            `(1, S, 1)` for one token, which sees itself; else `(T, T + S)`,
            the new tokens' columns first.
        """
        graph = self.graph
        rows = graph.cast(positions)
        columns = graph.input("columns", (-self.columns,))
        if self.many:
            columns = graph.concatenate([rows, columns], 0)
            rows = graph.reshape(rows, (-1, 1))
        shape = (1, -1) if self.many else (1, -1, 1)
        late = graph.subtract(rows, graph.reshape(columns, shape))
        late = graph.minimum(late, graph.constant(0.0))
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

    def __call__(self, joined, index):
        graph, config = self.graph, self.config
        width, kv = config.head_dim, config.kv_heads
        cached = kv * self.columns * width
        keys = graph.input(f"keys_{index:02d}", (-cached,))
        values = graph.input(f"values_{index:02d}", (-cached,))
        keys = graph.reshape(keys, (kv, -1, width))
        values = graph.reshape(values, (kv, width, -1))
        attend = self._many_tokens if self.many else self._one_token
        return attend(joined, keys, values)

    def _one_token(self, joined, keys, values):
        graph, config = self.graph, self.config
        heads, kv = config.heads, config.kv_heads
        width, shared = config.head_dim, config.heads // config.kv_heads
        joined = graph.reshape(joined, (heads + 2 * kv, width))
        turned = graph.slice(joined, (0, 0), (heads + kv, -1))
        turned = self._rotated(turned)
        value = graph.slice(joined, (heads + kv, 0), (kv, -1))
        query = graph.slice(turned, (0, 0), (heads, -1))
        key = graph.slice(turned, (heads, 0), (kv, -1))
        query = graph.reshape(query, (kv, shared, width))
        key = graph.reshape(key, (kv, 1, width))
        value = graph.reshape(value, (kv, width, 1))
        old = graph.add(graph.matmul(keys, query, transpose_b=True), self.mask)
        own = graph.matmul(key, query, transpose_b=True)
        scores = graph.concatenate([own, old], 1)  # (K, 1 + S, G)
        shares = graph.softmax(graph.transpose(scores, (0, 2, 1)))
        own = graph.slice(shares, (0, 0, 0), (kv, shared, 1))
        old = graph.slice(shares, (0, 0, 1), (kv, shared, -1))
        mixed = graph.add(
            graph.matmul(values, old, transpose_b=True),
            graph.matmul(value, own, transpose_b=True),
        )  # (K, D, G)
        mixed = graph.transpose(mixed, (0, 2, 1))
        return (
            graph.reshape(mixed, (1, heads * width)),
            graph.reshape(key, (1, kv, 1, width)),
            graph.reshape(value, (1, kv, width, 1)),
        )

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

    def _many_tokens(self, joined, keys, values):
        graph, config = self.graph, self.config
        heads, kv, width = config.heads, config.kv_heads, config.head_dim
        joined = graph.reshape(joined, (-1, heads + 2 * kv, width))
        joined = graph.transpose(joined, (1, 0, 2))
        turned = graph.slice(joined, (0, 0, 0), (heads + kv, -1, width))
        turned = self._rotated(turned)
        value = graph.slice(joined, (heads + kv, 0, 0), (kv, -1, width))
        value = graph.transpose(value, (0, 2, 1))
        query = graph.slice(turned, (0, 0, 0), (heads, -1, width))
        key = graph.slice(turned, (heads, 0, 0), (kv, -1, width))
        query = graph.reshape(query, (kv, heads // kv, -1, width))
        keys = graph.concatenate([key, keys], 1)
        keys = graph.reshape(keys, (kv, 1, -1, width))
        values = graph.concatenate([value, values], 2)
        values = graph.reshape(values, (kv, 1, width, -1))
        scores = graph.matmul(query, keys, transpose_b=True)
        shares = graph.softmax(graph.add(scores, self.mask))
        mixed = graph.matmul(shares, values, transpose_b=True)
        mixed = graph.reshape(mixed, (heads, -1, width))
        mixed = graph.transpose(mixed, (1, 0, 2))
        return (
            graph.reshape(mixed, (-1, heads * width)),
            graph.reshape(key, (1, kv, -1, width)),
            graph.reshape(value, (1, kv, width, -1)),
        )
