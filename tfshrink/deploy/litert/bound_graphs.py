"""Graphs of a file that run in host memory, without copies."""

import contextlib

import numpy as np

from tfshrink.deploy.litert.memory import aligned
from tfshrink.quiet import closed_stderr


class BoundGraphs:
    """Runs graphs that share a cache, for any number of tokens.

    Args:
        model: `CompiledModel`.
        names: Keys of the signatures.
        sizes: Function of a graph's name, an input's or output's, and the
            number of new tokens, to how many numbers that holds.
        cache: What holds keys and values, such as `ExactColumns`; `None` for
            graphs that read none.
    """

    def __init__(self, model, names, sizes, cache=None):
        signatures = model.get_signature_list()
        self._model = model
        self._sizes = sizes
        self._cache = cache
        self._graphs = {
            name: (model.get_signature_index(name), signatures[name])
            for name in names
        }
        self._bound = {}

    def run(self, name, count, given):
        """Runs a graph on `count` tokens.

        Args:
            name: Key of its signature.
            count: New tokens.
            given: Name to values of the inputs that are not the cache's.

        Returns:
            Name to flat array, of inputs and outputs, valid until the next
            run of the graph.
        """
        if self._cache is not None and self._cache.changed:
            self._bound.clear()
            self._cache.changed = False
        key = name, count
        first = key not in self._bound
        if first:
            # Another number of tokens is another shape of the same graph.
            for other in [k for k in self._bound if k[0] == name]:
                del self._bound[other]
            self._bound[key] = self._bind(name, count)
        index, inputs, outputs, arrays = self._bound[key]
        for own, values in given.items():
            arrays[own][:] = values
        # The first time LiteRT looks for accelerators, aloud.
        with closed_stderr() if first else contextlib.nullcontext():
            self._model.run_by_index(index, inputs, outputs)
        return arrays

    def clear(self):
        """Lets go of all memory and of the model."""
        self._bound.clear()
        self._model = None

    def _bind(self, name, count):
        """Buffers of a graph for `count` tokens and the cache as it is."""
        from ai_edge_litert.tensor_buffer import TensorBuffer

        index, names = self._graphs[name]
        arrays = {
            own: self._array(name, own, count)
            for own in (*names["inputs"], *names["outputs"])
        }
        for place, own in enumerate(names["inputs"]):
            self._model.resize_input_tensor(
                place, [arrays[own].size], index, strict=False
            )
        inputs, outputs = (
            [
                TensorBuffer.create_from_host_memory(arrays[own].reshape(-1))
                for own in names[side]
            ]
            for side in ("inputs", "outputs")
        )
        return index, inputs, outputs, arrays

    def _array(self, graph, name, count):
        """Memory of an input or output: the cache's, or new."""
        own = self._cache and self._cache.array(name)
        if own is not None:
            return own
        dtype = "int32" if name in ("tokens", "positions") else "float32"
        return aligned(self._sizes(graph, name, count), dtype)


def heads_of(model, name, blocks, width):
    """Where the key/value heads of each block of a graph begin.

    Args:
        model: `CompiledModel`.
        name: Key of the signature of a graph over a cache.
        blocks: Blocks it runs.
        width: Head width D.

    Returns:
        int `(blocks + 1,)`, their total behind them.
    """
    # A block may have fewer heads than others: the file says how many.
    details = model.get_input_tensor_details(name)
    columns = details["columns"]["shape"][0]
    counts = [
        details[f"keys_{index:02d}"]["shape"][0] // (columns * width)
        for index in range(blocks)
    ]
    return np.cumsum([0, *counts])
