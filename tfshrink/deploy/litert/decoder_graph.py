"""Prefill and decode of a frozen decoder as LiteRT graphs.

Axes: T new tokens, S cached columns, H query heads, K key/value heads, G = H/K
queries that share one, D head width, C channels, V vocabulary.
"""

from tfshrink.deploy.litert.builder import Builder
from tfshrink.deploy.litert.containers import rounded_adapter
from tfshrink.deploy.litert.containers import shipped
from tfshrink.deploy.litert.graph import Graph


class DecoderGraphs:
    """Adds graphs of one decoder to a file; they share its constants.

    A graph takes `tokens` `(T,)`, their `positions` `(T,)`, for each block
    `keys_NN` and `values_NN` `(K, S, D)` of cached tokens, and in `columns`
    `(S,)` the position of each of those, `EMPTY` where there is none. The first
    column holds zeros and is marked `OWN`. It returns `logits` `(V,)` and the
    new tokens' `new_keys` and `new_values`, of block after block `(K, T, D)`
    (blocks may differ in K); where T > 1 also the normalised `states` `(T, C)`,
    and the logits are those of the *first* token.
    (Order means nothing to attention, positions do: whoever wants the last
    token's logits hands tokens in from the last to the first.) All are flat, as
    buffers in host memory are, and where T > 1 both T and S may change from
    call to call.

    Keys are rotated, and scaled as much as queries are.

    Args:
        file: `FlatModel`.
        decoder: `FrozenDecoder`.
        cache: `CodedCache`: older columns are codes, in inputs more; or `None`.
    """

    def __init__(self, file, decoder, cache=None):
        self.file = file
        self.decoder = decoder
        self.cache = cache
        self.config = decoder.config
        self._weights = {}

    def shipped(self, key, parts):
        """The container of joined weights, made once for all graphs."""
        if key not in self._weights:
            self._weights[key] = shipped(parts)
        return self._weights[key]

    def adapter(self, key, factor):
        """An adapter's factor as a weight, made once for all graphs."""
        if key not in self._weights:
            self._weights[key] = rounded_adapter(factor)
        return self._weights[key]

    def add(self, name, tokens, columns):
        """Adds the graph of one or of several new tokens.

        Args:
            name: Key of the signature.
            tokens: T, at first.
            columns: S, at first.
        """
        Builder(self, Graph(self.file, name), tokens, columns).build()

    def add_head(self, name, tokens):
        """Adds the graph from `states` to the `logits` of each, both flat."""
        graph = Graph(self.file, name)
        width = self.config.width
        states = graph.input("states", (-tokens * width,))
        states = graph.reshape(states, (-1, width))
        Builder(self, graph, tokens, 0).head(states)
