"""One sequence in an exported decoder, run by LiteRT."""

import math
import os

import numpy as np

from tfshrink.deploy.litert.bound_graphs import BoundGraphs
from tfshrink.deploy.litert.bound_graphs import heads_of
from tfshrink.deploy.litert.coded_columns import CodedColumns
from tfshrink.deploy.litert.coded_columns import KV
from tfshrink.deploy.litert.exact_columns import ExactColumns
from tfshrink.deploy.litert.flat_model import attachment
from tfshrink.deploy.litert.flat_model import is_whole
from tfshrink.deploy.litert.library import require_litert
from tfshrink.errors import UserError
from tfshrink.evaluation.environment import cores
from tfshrink.quiet import closed_stderr

KEYS = "keys_"  # and the number of a block
PREFILL, DECODE, HEAD = "prefill", "decode", "head"
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
        self._graphs = None
        self._model = open_litert(path, threads or cores(), builtin)
        signatures = self._model.get_signature_list()
        missing = {PREFILL, DECODE, HEAD} - set(signatures)
        if missing:
            raise UserError(
                f"`{path}` must be an export of tfshrink, with the signatures "
                f"prefill, decode and head. Received: {sorted(signatures)}"
            )
        self._check_shape()
        own = shape["layers"], shape["head_dim"]
        self._heads = heads_of(self._model, DECODE, *own)
        self.cache = self._cache()
        self._graphs = BoundGraphs(
            self._model, (PREFILL, DECODE, HEAD), self._size, self.cache
        )

    def _check_shape(self):
        """Raises a `UserError` unless the file's graphs are of this shape.

        LiteRT reads and writes memory as large as the shape says.
        """
        inputs = self._model.get_input_tensor_details(DECODE)
        outputs = self._model.get_output_tensor_details(PREFILL)
        tokens = self._model.get_input_tensor_details(PREFILL)["tokens"]
        count = int(tokens["shape"][0])
        columns = int(outputs["new_keys"]["shape"][0]) // count
        layers = sum(name.startswith(KEYS) for name in inputs)
        found = {
            "vocabulary": int(outputs["logits"]["shape"][0]),
            "width": int(outputs["states"]["shape"][0]) // count,
            "layers": layers,
            "head_dim": math.gcd(columns, self.shape["head_dim"]),
        }
        if not layers:  # a coded cache has inputs of its own
            del found["layers"]
        for name, own in found.items():
            if self.shape[name] != own:
                raise UserError(
                    f"`{self.path}` must be of the shape that is named beside "
                    f"it, {name} {self.shape[name]}. Received: {own}"
                )

    def _cache(self):
        tables = attachment(self.path, KV)
        own = self._heads, self.shape["head_dim"]
        return CodedColumns(*own, tables) if tables else ExactColumns(*own)

    @property
    def length(self):
        """Tokens of the sequence so far."""
        return self.cache.length

    def close(self):
        """Frees the model; the session cannot be used any more."""
        with closed_stderr():  # LiteRT says what it destroys
            if self._graphs is not None:
                self._graphs.clear()
            self._model = None

    def __del__(self):
        if getattr(self, "_model", None) is not None:
            self.close()

    def reset(self):
        """Forgets the sequence."""
        self.rewind(0)

    def rewind(self, length):
        """Forgets all but the first tokens of the sequence.

        Args:
            length: How many may stay.

        Returns:
            How many do: where older tokens are coded, those at the end of what
            stays may be gone, and then none does.
        """
        return self.cache.rewind(length)

    @property
    def depth(self):
        """Blocks that a token runs."""
        return self.shape["layers"]

    def begin(self, count):
        """Before a text of so many new tokens: nothing depends on it here."""

    def prefill(self, tokens):
        """Appends tokens to the sequence.

        Args:
            tokens: Token ids, at least one.

        Returns:
            Logits of the last one, float32 `(V,)`, valid until the next call.
        """
        parts = self.cache.parts(len(tokens))
        for _, arrays in self._append_parts(tokens, parts):
            logits = arrays["logits"]
        return logits

    def step(self, token):
        """Appends one token; returns its logits as `prefill` does."""
        return self._append([token], True)["logits"]

    def score(self, tokens):
        """Appends tokens; returns the logits of each, `(T, V)`."""
        found = []
        parts = self.cache.even_parts(len(tokens))
        for count, arrays in self._append_parts(tokens, parts):
            if count > 1:
                given = {"states": arrays["states"]}
                arrays = self._graphs.run(HEAD, count, given)
            rows = arrays["logits"].reshape(-1, self.shape["vocabulary"])
            found.append(rows[::-1].copy())  # the last token is first
        return np.concatenate(found)

    def _append_parts(self, tokens, parts):
        """Appends tokens part by part; yields the size and arrays of each."""
        if not parts:
            raise UserError("`tokens` must hold at least one. Received: none")
        self.cache.begin(parts[0].stop)
        for part in parts:
            own = tokens[part]
            yield len(own), self._append(own, part.stop == len(tokens))

    def _append(self, tokens, last):
        """Runs tokens and keeps them; `last` as of a cache's `append`."""
        tokens = np.asarray(tokens, "int32")
        count, start = len(tokens), self.length
        stop, context = start + count, self.shape["context"]
        if stop > context:
            raise UserError(
                f"A sequence must have at most {context} tokens, the context "
                f"of {self.path}. Received: {stop}"
            )
        self.cache.make_room(count)
        places = np.arange(start, stop, dtype="int32")
        name = DECODE if count == 1 else PREFILL
        # The last token first: the graph has the logits of its first row.
        arrays = self._graphs.run(
            name, count, {"tokens": tokens[::-1], "positions": places[::-1]}
        )
        shape = self._heads[-1], count, -1
        new = (
            arrays[f"new_{kind}"].reshape(shape)[:, ::-1]
            for kind in ("keys", "values")
        )
        self.cache.append(*new, last)
        return arrays

    def _size(self, graph, name, count):
        """Numbers that an input or output holds, of `count` tokens."""
        shape = self.shape
        if name in ("tokens", "positions"):
            return count
        if name == "states":
            return count * shape["width"]
        if name == "logits":
            return (count if graph == HEAD else 1) * shape["vocabulary"]
        return int(self._heads[-1]) * shape["head_dim"] * count


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
