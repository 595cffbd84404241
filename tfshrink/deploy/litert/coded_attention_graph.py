"""Attention over a cache whose older columns are codes, as LiteRT operators.

Axes: as in `attention_graph`; N coded columns. The codes are those of
`coded_columns`; nothing is decoded that queries and weights can meet coded.
"""

from tfshrink.deploy.litert.attention_graph import AttentionGraph


class CodedAttentionGraph(AttentionGraph):
    """`AttentionGraph` with more inputs: what `CodedColumns` holds.

    The softmax of both parts is put together by hand: joining their scores
    and cutting weights apart again would take an operator that XNNPACK refuses.

    Args:
        graph: `Graph`.
        config: `DecoderConfig`.
        tokens: T at first.
        columns: S at first.
        cache: `CodedCache`: tables, and N at first.
    """

    def __init__(self, graph, config, tokens, columns, cache):
        super().__init__(graph, config, tokens, columns)
        self.cache = cache
        self.coded_mask = self.waves = None

    def reading(self, positions):
        """As in `AttentionGraph`."""
        super().reading(positions)
        graph, cache = self.graph, self.cache
        rows = graph.reshape(graph.cast(positions), (-1, 1))
        columns = graph.input("coded_columns", (-cache.tokens,))
        self.coded_mask = self._visible(rows, graph.reshape(columns, (1, -1)))
        if cache.waves:
            width = self.config.head_dim
            waves = graph.input("coded_waves", (-cache.tokens * width,))
            self.waves = graph.reshape(waves, (1, 1, -1, width))
        return self

    def __call__(self, joined, block, index):
        self.part = PARTS[self.cache.kind](self, block, index)
        return super().__call__(joined, block, index)

    def _one_attends(self, query, key, value, keys, values):
        """Queries `(K, G, D)`, one key and value `(K, 1, D)`."""
        graph = self.graph
        kv, shared, width = query.shape
        exact = graph.add(
            graph.matmul(query, keys, transpose_b=True), self.mask
        )
        own = graph.reduce("SUM", graph.multiply(query, key))
        exact = graph.add(exact, graph.multiply(own, self.own))
        coded = self.part.scores(graph.reshape(query, (kv, 1, shared, width)))
        coded = graph.add(coded, self.coded_mask)  # (K, 1, G, N)
        exact = graph.reshape(exact, (kv, 1, shared, -1))
        exact, coded, inverse = self._exponentials(exact, coded)
        mixed = self.part.mix(coded)
        values = graph.reshape(values, (kv, 1, -1, width))
        mixed = graph.add(mixed, graph.matmul(exact, values))
        own = graph.slice(exact, (0, 0, 0, 0), (kv, 1, shared, 1))
        value = graph.reshape(value, (kv, 1, 1, width))
        mixed = graph.add(mixed, graph.multiply(own, value))
        return graph.multiply(mixed, inverse)

    def _many_attend(self, query, keys, values):
        """Queries `(K, G, T, D)`, keys and values `(K, 1, S, D)`."""
        graph = self.graph
        exact = graph.add(
            graph.matmul(query, keys, transpose_b=True), self.mask
        )
        coded = graph.add(self.part.scores(query), self.coded_mask)
        exact, coded, inverse = self._exponentials(exact, coded)
        mixed = graph.add(graph.matmul(exact, values), self.part.mix(coded))
        return graph.multiply(mixed, inverse)

    def _exponentials(self, exact, coded):
        """Of both parts' scores, and one divided by their sum."""
        graph, parts = self.graph, (exact, coded)
        top = graph.maximum(*[graph.reduce("REDUCE_MAX", x) for x in parts])
        parts = [graph.unary("EXP", graph.subtract(x, top)) for x in parts]
        total = graph.add(*[graph.reduce("SUM", x) for x in parts])
        # XNNPACK takes no reciprocal: the power -1 as that of a square root.
        inverse = graph.unary("RSQRT", graph.multiply(total, total))
        return *parts, inverse


class IntegerPart:
    """What `IntegerColumns` keeps of one block."""

    def __init__(self, attention, block, index):
        graph = self.graph = attention.graph
        self.cache = cache = attention.cache
        self.many = attention.many
        kv, width = block.kv_heads, attention.config.head_dim
        self.kv, self.width = kv, width
        wide, tokens = width * cache.bits // 8, cache.tokens
        blocks = tokens // cache.block

        def read(name, size, shape):
            x = graph.input(f"{name}_{index:02d}", (-size,))
            return graph.reshape(x, shape)

        self.codes = {}
        for name in ("key", "value"):
            x = graph.bytes_input(
                f"{name}_codes_{index:02d}", kv * tokens * wide, cache.unit
            )
            self.codes[name] = x
        shape = kv, -1, 1, width
        self.key_step = read("key_step", kv * blocks * width, shape)
        self.key_low = read("key_low", kv * blocks * width, shape)
        shape = kv, 1, 1, -1
        self.value_step = read("value_step", kv * tokens, shape)
        self.value_low = read("value_low", kv * tokens, shape)

    def _halves(self, name, shape):
        """Codes divided by 16, and their high halves, of 4 bits."""
        x = self.graph.reshape(self.codes[name], shape)
        return x, self.graph.unary("FLOOR", x)

    def scores(self, query):
        """`(K, G, T, N)` of many queries, `(K, 1, G, N)` of one token's."""
        graph, cache, kv = self.graph, self.cache, self.kv
        if self.many:
            keys = graph.reshape(self._keys(), (kv, 1, -1, self.width))
            return graph.matmul(query, keys, transpose_b=True)
        rows = query.shape[2]
        shape = kv, -1, cache.block, self.width * cache.bits // 8
        scaled = graph.multiply(query, self.key_step)  # (K, M, G, D)
        if cache.bits == 8:
            codes = graph.reshape(self.codes["key"], shape)
            found = graph.matmul(scaled, codes, transpose_b=True)
        else:
            found = self._by_halves(
                graph.split(scaled, 2, 3), self._halves("key", shape), True
            )
        rest = graph.reduce("SUM", graph.multiply(query, self.key_low))
        found = graph.add(found, rest)  # (K, M, G, block)
        found = graph.transpose(found, (0, 2, 1, 3))
        return graph.reshape(found, (kv, 1, rows, -1))

    def _by_halves(self, factors, codes, transpose):
        """The sum of products of two factors with low and high halves."""
        graph, (whole, high) = self.graph, codes
        low = graph.multiply(factors[0], graph.constant(16.0))
        other = graph.subtract(factors[1], low)
        return graph.add(
            graph.matmul(low, whole, transpose_b=transpose),
            graph.matmul(other, high, transpose_b=transpose),
        )

    def _keys(self):
        """All keys, `(K, M, block, D)`."""
        graph, cache = self.graph, self.cache
        shape = self.kv, -1, cache.block, self.width * cache.bits // 8
        codes = self._all("key", shape, 3)
        return graph.add(graph.multiply(codes, self.key_step), self.key_low)

    def _all(self, name, shape, axis):
        """Codes as numbers."""
        graph = self.graph
        if self.cache.bits == 8:
            return graph.reshape(self.codes[name], shape)
        whole, high = self._halves(name, shape)
        low = graph.multiply(graph.subtract(whole, high), graph.constant(16.0))
        return graph.concatenate([low, high], axis)

    def mix(self, weights):
        """Weights as of `scores`; `(K, G, T, D)` or `(K, 1, G, D)`."""
        graph = self.graph
        wide = self.width * self.cache.bits // 8
        shape = self.kv, 1, -1, wide
        scaled = graph.multiply(weights, self.value_step)
        rest = graph.reduce("SUM", graph.multiply(weights, self.value_low))
        if self.cache.bits == 8:
            codes = graph.reshape(self.codes["value"], shape)
            return graph.add(graph.matmul(scaled, codes), rest)
        whole, high = self._halves("value", shape)
        high = graph.matmul(scaled, high)
        both = graph.multiply(graph.matmul(scaled, whole), graph.constant(16.0))
        low = graph.subtract(both, graph.multiply(high, graph.constant(16.0)))
        return graph.add(graph.concatenate([low, high], 3), rest)


class PrincipalPart:
    """What `PrincipalColumns` keeps of one block."""

    def __init__(self, attention, block, index):
        graph = self.graph = attention.graph
        self.attention, self.many = attention, attention.many
        self.cache = cache = attention.cache
        self.kv, self.width = block.kv_heads, attention.config.head_dim
        tables = cache.tables

        def constant(name):
            return graph.constant(tables[f"{index:02d}/{name}"])

        self.constant = constant
        self.whole, self.high, self.gain = {}, {}, {}
        half = cache.tokens // 2
        for name in ("key", "value"):
            columns = cache.columns[name]
            x = graph.bytes_input(
                f"{name}_codes_{index:02d}", half * columns, cache.unit
            )
            x = graph.reshape(x, (1, 1, -1, columns))
            self.whole[name] = x  # a byte divided by 16
            self.high[name] = graph.unary("FLOOR", x)
            gain = graph.input(f"{name}_gain_{index:02d}", (-cache.tokens,))
            self.gain[name] = graph.reshape(gain, (1, 1, 1, -1))

    def scores(self, query):
        """As of `IntegerPart`."""
        graph, columns = self.graph, self.cache.columns["key"]
        turned = graph.matmul(query, self.constant("key_basis"))
        rows = turned.shape[2]
        if not self.many:  # one product for all heads
            turned = graph.reshape(turned, (1, 1, self.kv * rows, columns))
        both = graph.multiply(turned, graph.constant(16.0))
        high = graph.matmul(turned, self.high["key"], transpose_b=True)
        low = graph.subtract(
            graph.matmul(both, self.whole["key"], transpose_b=True),
            graph.multiply(high, graph.constant(16.0)),
        )
        found = graph.concatenate([low, high], 3)
        if not self.many:
            found = graph.reshape(found, (self.kv, 1, rows, -1))
        rest = graph.reduce(
            "SUM", graph.multiply(query, self.constant("key_constant"))
        )
        found = graph.multiply(graph.add(found, rest), self.gain["key"])
        return graph.add(found, self._of_centre(query))

    def _of_centre(self, query):
        """Scores of the mean key at each column."""
        graph, centre = self.graph, self.constant("centre_scaled")
        if self.attention.waves is None:
            return graph.reduce("SUM", graph.multiply(query, centre))
        # Turned by an angle, the score is a cosine and a sine of it: their
        # factors are products of a query's halves with those of the mean.
        first, second = graph.split(query, 2, 3)
        one, two = graph.split(centre, 2, 3)
        cosines = graph.add(
            graph.multiply(first, one), graph.multiply(second, two)
        )
        sines = graph.subtract(
            graph.multiply(second, one), graph.multiply(first, two)
        )
        factors = graph.concatenate([cosines, sines], 3)
        return graph.matmul(factors, self.attention.waves, transpose_b=True)

    def mix(self, weights):
        """As of `IntegerPart`."""
        graph, columns = self.graph, self.cache.columns["value"]
        weighted = graph.multiply(weights, self.gain["value"])
        rows = weights.shape[2]
        flat = weighted
        if not self.many:
            flat = graph.reshape(weighted, (1, 1, self.kv * rows, -1))
        first, second = graph.split(flat, 2, 3)  # by halves of blocks
        low = graph.multiply(first, graph.constant(16.0))
        mixed = graph.add(
            graph.matmul(low, self.whole["value"]),
            graph.matmul(graph.subtract(second, low), self.high["value"]),
        )
        if not self.many:
            mixed = graph.reshape(mixed, (self.kv, 1, rows, columns))
        out = graph.matmul(mixed, self.constant("value_basis"))
        for factor, name in ((weighted, "value_constant"), (weights, "mean")):
            total = graph.reduce("SUM", factor)
            out = graph.add(out, graph.multiply(total, self.constant(name)))
        return out


PARTS = {"int": IntegerPart, "pca": PrincipalPart}
