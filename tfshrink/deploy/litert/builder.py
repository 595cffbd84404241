"""One graph of a decoder while it is put together.

Axes: T new tokens, S cached columns, C channels, V vocabulary.
"""

import functools

import numpy as np

from tfshrink.deploy.litert.attention_graph import AttentionGraph
from tfshrink.deploy.litert.coded_attention_graph import CodedAttentionGraph
from tfshrink.deploy.litert.packed_weight import quantized_weight


class Builder:
    """One graph while it is put together.

    Args:
        graphs: `DecoderGraphs`, whose constants it shares.
        graph: `Graph`, empty.
        tokens: T, at first; more than one may change from call to call.
        columns: S, at first.
    """

    def __init__(self, graphs, graph, tokens, columns):
        self.graphs = graphs
        self.graph = graph
        self.config = graphs.config
        self.tokens = tokens
        self.columns = columns
        self.many = tokens > 1
        self.keys, self.values = [], []  # what is new of each block so far
        self._sums = {}

    def build(self):
        """All blocks and the head."""
        decoder = self.graphs.decoder
        x = self.read_tokens()
        for index, block in enumerate(decoder.blocks):
            x = self.block(x, block, index)
        x = self.norm(x, decoder.final_norm)
        if self.many:
            self.flat_output("states", x)
        self.head(self.first(x))
        self.finish()

    def read_tokens(self):
        """Inputs of tokens and their positions; returns states `(T, C)`."""
        graph, decoder = self.graph, self.graphs.decoder
        varying = -self.tokens if self.many else self.tokens
        tokens = graph.input("tokens", (varying,), "int32")
        positions = self.read_positions()
        x = self.embed(tokens)
        if decoder.positions is not None:
            x = graph.add(x, graph.gather(decoder.positions, positions))
        return x

    def read_positions(self):
        """The input of positions, which attention is then ready for."""
        graph, cache = self.graph, self.graphs.cache
        varying = -self.tokens if self.many else self.tokens
        positions = graph.input("positions", (varying,), "int32")
        own = graph, self.config, self.tokens, self.columns
        attention = AttentionGraph(*own)
        if cache is not None:
            attention = CodedAttentionGraph(*own, cache)
        self.attend = attention.reading(positions)
        return positions

    def first(self, x):
        """The first row `(1, C)` of states: the newest token's."""
        if not self.many:
            return x
        return self.graph.slice(x, (0, 0), (1, self.config.width))

    def finish(self):
        """Outputs of all blocks' new keys and values."""
        for name, parts in (
            ("new_keys", self.keys),
            ("new_values", self.values),
        ):
            whole = parts[0]
            if len(parts) > 1:
                whole = self.graph.concatenate(parts, 0)
            self.flat_output(name, whole)

    def head(self, x):
        """Logits of states, as an output."""
        head = self.graphs.decoder.head_table
        self.flat_output("logits", self.dense(x, "head", [head]))

    def flat_output(self, name, x):
        """Names an output, flattened."""
        self.graph.output(name, self.graph.reshape(x, (-1,)))

    def embed(self, tokens):
        """Rows of the embedding `(T, C)`."""
        decoder = self.graphs.decoder
        key = "head" if decoder.head is None else "embedding"
        return self.lookup(key, decoder.embedding, tokens)

    def lookup(self, key, table, tokens):
        """Rows `(T, C)` of a table `FrozenDense` at tokens `(T,)`."""
        found = self.graphs.shipped(key, [table])
        if found.weight.scale is None:
            return self.graph.gather(self.graph.weight(found.weight), tokens)
        x = self.graph.lookup(tokens, found.weight)
        if found.half is None:
            return x
        halves = self.graph.gather(found.half[:, None], tokens)
        return self.graph.add(x, halves)

    def norm(self, x, norm):
        """RMSNorm or LayerNorm over the last axis."""
        graph, width = self.graph, self.config.width
        if self.config.norm == "layer":
            x = graph.subtract(x, graph.reduce("MEAN", x))
        # The mean's divisor is in the gain.
        power = graph.reduce("SUM", graph.multiply(x, x))
        epsilon = graph.constant(width * self.config.norm_epsilon)
        inverse = graph.unary("RSQRT", graph.add(power, epsilon))
        gain = self.kept(
            ("gain", id(norm)),
            lambda: (norm.scale * np.sqrt(width)).astype("float32"),
        )
        x = graph.multiply(graph.multiply(x, inverse), graph.constant(gain))
        return (
            x if norm.bias is None else graph.add(x, graph.constant(norm.bias))
        )

    def kept(self, key, make):
        """An array that all graphs of the file share."""
        weights = self.graphs._weights
        if key not in weights:
            weights[key] = make()
        return weights[key]

    def dense(self, x, key, members):
        """Product with joined weights, half steps, adapters and biases.

        Args:
            x: `(T, inputs)`.
            key: Name of the layer group.
            members: `FrozenDense`s that read `x`.

        Returns:
            `(T, outputs)` of all members behind one another.
        """
        graph = self.graph
        found = self.graphs.shipped(key, members)
        bias = None
        if members[0].bias is not None:
            bias = self.kept(
                (key, "bias"),
                lambda: np.concatenate([m.bias for m in members]),
            )
        out = graph.dense(x, found.weight, bias)
        if found.half is not None:
            total = self.sum(x)
            out = graph.add(
                out, graph.multiply(total, graph.constant(found.half))
            )
        if members[0].down is not None:
            out = graph.add(out, self.adapters(x, key, members))
        return out

    def sum(self, x):
        """Sum of each row as int8, once for all weights that read it."""
        if x.index not in self._sums:
            inputs = x.shape[-1]
            ones = self.kept(
                ("ones", inputs),
                lambda: quantized_weight(
                    np.ones((1, inputs), "int8"), np.ones((1, 1), "float32"), 8
                ),
            )
            self._sums[x.index] = self.graph.dense(x, ones)
        return self._sums[x.index]

    def adapters(self, x, key, members):
        """What the adapters of joined weights add."""
        graph, graphs = self.graph, self.graphs
        down = self.kept(
            (key, "down floats"),
            lambda: np.concatenate([member.down for member in members]),
        )
        narrow = graph.dense(x, graphs.adapter((key, "down"), down))
        if len(members) == 1:
            return graph.dense(
                narrow, graphs.adapter((key, "up", 0), members[0].up)
            )
        # Not slices: XNNPACK refuses those that reach to an open end.
        parts = graph.split(narrow, len(members), 1)
        outputs = [
            graph.dense(part, graphs.adapter((key, "up", index), member.up))
            for index, (part, member) in enumerate(
                zip(parts, members, strict=True)
            )
        ]
        return graph.concatenate(outputs, 1)

    def block(self, x, block, name):
        """A block, whose keys and values are those behind the last one's.

        Args:
            x: States `(T, C)`.
            block: `FrozenBlock`.
            name: What its weights are known by in all graphs.

        Returns:
            Its output `(T, C)`.
        """
        graph = self.graph
        groups = block.groups
        key = functools.partial("{}/{}".format, name)
        hidden = self.norm(x, block.attention_norm)
        mixed = self.dense(hidden, key("attention_in"), groups["attention_in"])
        mixed, keys, values = self.attend(mixed, block, len(self.keys))
        self.keys.append(keys)
        self.values.append(values)
        out = self.dense(mixed, key("attention_out"), groups["attention_out"])
        x = graph.add(x, out)
        hidden = self.norm(x, block.mlp_norm)
        inner = self.dense(hidden, key("mlp_in"), groups["mlp_in"])
        inner = self.activate(inner)
        out = self.dense(inner, key("mlp_out"), groups["mlp_out"])
        return graph.add(x, out)

    def activate(self, inner):
        """The nonlinearity of the MLP, times its gate's partner."""
        graph, kind = self.graph, self.config.activation
        up = None
        if self.config.gated:
            inner, up = graph.split(inner, 2, 1)
        if kind == "silu":
            out = graph.multiply(inner, graph.unary("LOGISTIC", inner))
        elif kind == "relu":
            out = graph.unary("RELU", inner)
        else:
            out = graph.gelu(inner, approximate=kind == "gelu_tanh")
        return out if up is None else graph.multiply(out, up)
