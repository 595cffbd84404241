"""A decoder cut at its exits, as LiteRT graphs.

Axes as in `decoder_graph`, but K: candidates of an exit.
"""

import numpy as np

from tfshrink.deploy.litert.builder import Builder
from tfshrink.deploy.litert.exit_session import CANDIDATES
from tfshrink.deploy.litert.exit_session import segment_name
from tfshrink.deploy.litert.graph import Graph
from tfshrink.deploy.litert.packed_weight import quantized_weight


class ExitGraphs:
    """Adds a graph for each segment between exits, and one that proposes.

    The first segment takes `tokens` `(T,)`, the others `states` `(T, C)`; all
    take `positions`, `columns`, and `keys_NN` and `values_NN` of the blocks
    they run, numbered from 0, the exit's own last, as `DecoderGraphs` has them.
    They return `new_keys` and `new_values` of these blocks and, but for the
    last, `states` `(T, C)` behind the exit's block; of the first row, the
    newest token, `hidden` `(C,)`, what the head would read, and `sure` `(1,)`,
    the classifier's logit. The first returns the first row's `embedded` state
    `(C,)` too, the last one its `logits` `(V,)`.

    `candidates` takes `hidden` and returns `tokens` and `logits` of the K
    tokens an exit proposes: of the head only their rows are read.

    Args:
        graphs: `DecoderGraphs` of the same file.
        exits: `FrozenExits`.
    """

    def __init__(self, graphs, exits):
        self.graphs = graphs
        self.exits = exits
        self._bounds = (0, *exits.layers, graphs.config.layers)

    def add(self, tokens, columns):
        """Adds all graphs, those of segments for one token and for several.

        Args:
            tokens: Of the graphs for several, at first.
            columns: S, at first.
        """
        for index in range(len(self._bounds) - 1):
            for count in (1, tokens):
                self._add_segment(index, count, columns)
        self._add_candidates()

    def _builder(self, name, tokens, columns):
        graph = Graph(self.graphs.file, name)
        return Builder(self.graphs, graph, tokens, columns)

    def _add_segment(self, index, tokens, columns):
        name = segment_name(index, tokens > 1)
        build = self._builder(name, tokens, columns)
        if index == 0:
            x = build.read_tokens()
            build.flat_output("embedded", build.first(x))
        else:
            x = self._states(build)
            build.read_positions()
        decoder = self.graphs.decoder
        for place in range(*self._bounds[index:][:2]):
            x = build.block(x, decoder.blocks[place], place)
        if index == len(self.exits.layers):
            build.head(build.norm(build.first(x), decoder.final_norm))
        else:
            build.flat_output("states", x)
            self._exit(build, x, index)
        build.finish()

    def _states(self, build):
        """The input of states as `(T, C)`."""
        size = build.tokens * self.graphs.config.width
        x = build.graph.input("states", (-size if build.many else size,))
        return build.graph.reshape(x, (-1, self.graphs.config.width))

    def _exit(self, build, x, index):
        """What an exit makes of states `(T, C)`."""
        own, key = self.exits.exits[index], f"exit_{index}"
        for place, block in enumerate(own.blocks):
            x = build.block(x, block, f"{key}/{place}")
        x = build.norm(build.first(x), own.norm)
        x = build.dense(x, f"{key}/translate", [own.translate])
        if self.exits.rounded:
            x = build.graph.dense(x, self._identity(build))
        build.flat_output("hidden", x)
        x = build.dense(x, f"{key}/narrow", [own.narrow])
        x = build.graph.unary("RELU", x)
        build.flat_output("sure", build.dense(x, f"{key}/judge", [own.judge]))

    def _identity(self, build):
        """A weight that rounds rows to int8 as the head's kernel does."""
        width = self.graphs.config.width
        return build.kept(
            "identity",
            lambda: quantized_weight(
                np.eye(width, dtype="int8"), np.ones((width, 1), "float32"), 8
            ),
        )

    def _add_candidates(self):
        build = self._builder(CANDIDATES, 1, 0)
        graph, width = build.graph, self.graphs.config.width
        hidden = graph.input("hidden", (width,))
        x = graph.reshape(hidden, (1, width))
        table, count = self.graphs.decoder.head_table, self.exits.candidates
        if self.exits.down is None:
            logits, tokens = graph.top(build.dense(x, "head", [table]), count)
        else:
            x = build.dense(x, "light/down", [self.exits.down])
            x = build.dense(x, "light/up", [self.exits.up])
            tokens = graph.reshape(graph.top(x, count)[1], (count,))
            rows = build.lookup("head", table, tokens)
            rows = graph.reshape(rows, (1, count, width))
            column = graph.reshape(hidden, (1, width, 1))
            logits = graph.matmul(rows, column)
        build.flat_output("logits", logits)
        build.flat_output("tokens", tokens)
