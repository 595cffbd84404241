"""One sequence in an exported decoder, run by LiteRT."""

import contextlib
import os

import numpy as np

from tfshrink.deploy.litert.flat_model import is_whole
from tfshrink.deploy.litert.library import require_litert
from tfshrink.errors import UserError
from tfshrink.evaluation.environment import cores
from tfshrink.quiet import closed_stderr

# Marks of columns in place of a position, powers of two, later than any row:
EMPTY = float(2**30)  # holds nothing
OWN = float(2**31)  # kept free for the score of a single new token
PREFILL, DECODE, HEAD = "prefill", "decode", "head"
STEP = 64  # columns that the cache grows by while decoding
TIGHT = 16  # columns that it is a multiple of between parts of a prompt
FIRST_COLUMNS = STEP
CHUNK = 192  # new tokens a call at most: longer ones see more that is too late
_ALIGNMENT = 64  # bytes, of a buffer that is bound and not copied
IN_MEMORY = ":memory"  # where XNNPACK keeps the one copy of packed weights


class Session:
    """Runs the graphs of a file over a cache that they share.

    Everything that goes in or out lies in host memory that LiteRT reads and
    writes in place. The cache grows with the text: attention costs what that is
    long so far, not what the longest could be.

    Args:
        path: A `.tflite` file with the graphs of `DecoderGraphs`.
        shape: Dict of `layers`, `head_dim`, `width`, `vocabulary` and
            `context`, as in `DecoderConfig`.
        threads: Of a call; `None` takes all cores.
        builtin: Run LiteRT's own kernels, without XNNPACK (to compare).

    Raises:
        UserError: LiteRT cannot read the file, or it holds other graphs.

    Example:
        >>> session = Session("model.tflite", shape)
        >>> logits = session.prefill([1, 17, 240])
        >>> logits = session.step(int(logits.argmax()))
    """

    def __init__(self, path, shape, *, threads=None, builtin=False):
        self.path = path
        self.shape = shape
        self.length = 0
        self._model = open_litert(path, threads or cores(), builtin)
        signatures = self._model.get_signature_list()
        missing = {PREFILL, DECODE, HEAD} - set(signatures)
        if missing:
            raise UserError(
                f"`{path}` must be an export of tfshrink, with the signatures "
                f"prefill, decode and head. Received: {sorted(signatures)}"
            )
        self._graphs = {
            name: (self._model.get_signature_index(name), signatures[name])
            for name in (PREFILL, DECODE, HEAD)
        }
        # A block may have fewer heads than others: the file says how many.
        details = self._model.get_input_tensor_details(DECODE)
        head = FIRST_COLUMNS * shape["head_dim"]
        counts = [
            details[f"keys_{index:02d}"]["shape"][0] // head
            for index in range(shape["layers"])
        ]
        self._heads = np.cumsum([0, *counts])  # where each block's begin
        self._bound = {}
        self._rooms = [_aligned(0), _aligned(0)]
        self._resize(FIRST_COLUMNS)

    def close(self):
        """Frees the model; the session cannot be used any more."""
        with closed_stderr():  # LiteRT says what it destroys
            self._bound.clear()
            self._model = None

    def __del__(self):
        if getattr(self, "_model", None) is not None:
            self.close()

    def reset(self):
        """Forgets the sequence."""
        self.rewind(0)

    def rewind(self, length):
        """Forgets all but the first `length` tokens of the sequence."""
        self.length = min(length, self.length)
        if _columns_for(self.length, STEP) < len(self._columns):
            self._resize(_columns_for(self.length, STEP))
        self._columns[1 + self.length :] = EMPTY

    def prefill(self, tokens):
        """Appends tokens to the sequence.

        Args:
            tokens: Token ids, at least one.

        Returns:
            Logits of the last one, float32 `(V,)`, valid until the next call.
        """
        starts = range(0, len(tokens), CHUNK)
        parts = [tokens[start : start + CHUNK] for start in starts]
        for arrays in self._append_parts(parts):
            logits = arrays["logits"]
        return logits

    def step(self, token):
        """Appends one token; returns its logits as `prefill` does."""
        return self._append([token], STEP)["logits"]

    def score(self, tokens):
        """Appends tokens; returns the logits of each, `(T, V)`."""
        if len(tokens) == 1:
            return self.step(tokens[0])[None].copy()
        found = []
        parts = [tokens[part] for part in _chunks(len(tokens))]
        for part, arrays in zip(parts, self._append_parts(parts), strict=True):
            given = {"states": arrays["states"]}
            arrays = self._run(HEAD, len(part), given)
            rows = arrays["logits"].reshape(-1, self.shape["vocabulary"])
            found.append(rows[::-1].copy())  # the last token is first
        return np.concatenate(found)

    def _append_parts(self, parts):
        """Appends tokens part by part, to a cache no longer than it must be."""
        if not parts:
            raise UserError("`tokens` must hold at least one. Received: none")
        tight = _columns_for(self.length, TIGHT)
        if len(parts[0]) > 1 and tight < len(self._columns):
            self._resize(tight)
        for index, part in enumerate(parts):
            last = index + 1 == len(parts)
            yield self._append(part, STEP if last else TIGHT)

    def _append(self, tokens, step):
        """Runs tokens; leaves a cache with a multiple of `step` columns."""
        tokens = np.asarray(tokens, "int32")
        count, start = len(tokens), self.length
        stop, context = start + count, self.shape["context"]
        if stop > context:
            raise UserError(
                f"A sequence must have at most {context} tokens, the context "
                f"of {self.path}. Received: {stop}"
            )
        places = np.arange(start, stop, dtype="int32")
        name = DECODE if count == 1 else PREFILL
        # The last token first: the graph has the logits of its first row.
        arrays = self._run(
            name, count, {"tokens": tokens[::-1], "positions": places[::-1]}
        )
        if _columns_for(stop, step) > len(self._columns):
            self._resize(_columns_for(stop, step))
        heads = self._heads[-1], count, -1
        own = slice(1 + start, 1 + stop)  # the first column is no token's
        for cache, new in (
            (self._keys, "new_keys"),
            (self._values, "new_values"),
        ):
            cache[:, own] = arrays[new].reshape(heads)[:, ::-1]
        self._columns[own] = places
        self.length = stop
        return arrays

    def _resize(self, columns):
        """Gives the cache another number of columns; keeps what it holds."""
        heads, width = self._heads[-1], self.shape["head_dim"]
        size = heads * columns * width
        keys, values = (
            part.reshape(heads, columns, width)
            for part in np.split(self._room(2 * size), 2)
        )
        marks = _aligned(columns)
        marks[:] = EMPTY
        marks[0] = OWN
        used = slice(1, 1 + self.length)
        for cache, old in ((keys, "_keys"), (values, "_values")):
            if self.length:
                cache[:, used] = getattr(self, old)[:, used]
            cache[:, 0] = 0.0
            cache[:, used.stop :] = 0.0  # no share of it may be NaN
        if self.length:
            marks[used] = self._columns[used]
        self._keys, self._values, self._columns = keys, values, marks
        self._bound.clear()

    def _room(self, size):
        """Memory of the next cache, beside that of the present one.

        Fresh pages cost more than what is written on them: two pieces of memory
        take turns, and only the longest text so far asks for new ones.
        """
        self._rooms.reverse()
        if self._rooms[0].size < size:
            self._rooms[0] = _aligned(size)
        return self._rooms[0][:size]

    def _run(self, name, count, given):
        """Runs a graph on `count` tokens; returns its arrays by name."""
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
        shape = self.shape
        if name == "columns":
            return self._columns
        if name.startswith(("keys_", "values_")):
            kind, index = name.split("_")
            cache = self._keys if kind == "keys" else self._values
            start, stop = self._heads[int(index) :][:2]
            return cache[start:stop]
        if name in ("tokens", "positions"):
            return _aligned(count, "int32")
        if name == "states":
            return _aligned(count * shape["width"])
        if name == "logits":
            rows = count if graph == HEAD else 1
            return _aligned(rows * shape["vocabulary"])
        return _aligned(int(self._heads[-1]) * shape["head_dim"] * count)


def _columns_for(length, step):
    """Columns of a cache of `length` tokens: one more, in whole steps."""
    return step * (length // step + 1)


def _chunks(count):
    """Slices of at most `CHUNK` tokens, none of a single one."""
    parts = -(-count // CHUNK)
    edges = np.linspace(0, count, parts + 1).astype(int)
    return [slice(a, b) for a, b in zip(edges, edges[1:], strict=False)]


def _aligned(size, dtype="float32"):
    """Zeros at an address that LiteRT binds without a copy."""
    raw = np.zeros(4 * size + _ALIGNMENT, "uint8")
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + 4 * size].view(dtype)


def open_litert(path, threads, builtin=False):
    """A file as a `CompiledModel`; arguments as of `Session`."""
    require_litert()
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.cpu_kernel_mode import CpuKernelMode
    from ai_edge_litert.cpu_options import CpuOptions
    from ai_edge_litert.options import Options

    mode = CpuKernelMode.BUILTIN if builtin else CpuKernelMode.XNNPACK
    options = CpuOptions(
        num_threads=threads,
        kernel_mode=mode,
        xnnpack_weight_cache_path="" if builtin else IN_MEMORY,
    )
    if not os.path.isfile(path):
        raise UserError(f"`{path}` must be a .tflite file. It is not there")
    if not is_whole(path):
        raise UserError(
            f"`{path}` must be a .tflite file that tfshrink wrote, whole. It "
            "is foreign or damaged"
        )
    try:
        with closed_stderr():  # LiteRT greets there
            return CompiledModel.from_file(
                str(path), options=Options(cpu_options=options)
            )
    except RuntimeError as error:
        raise UserError(
            f"`{path}` must be a .tflite file that LiteRT reads, whole. "
            f"Received: {str(error).splitlines()[0]}"
        ) from error
