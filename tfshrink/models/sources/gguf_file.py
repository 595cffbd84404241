"""Decoders from GGUF files."""

import functools
import hashlib
import pathlib

import numpy as np

from tfshrink.errors import damage_named
from tfshrink.errors import UserError
from tfshrink.models.sources.gguf_config import config_from_gguf
from tfshrink.models.sources.gguf_header import GGUFHeader
from tfshrink.models.sources.gguf_tokenizer import tokenizer_from_gguf
from tfshrink.models.sources.source import Source
from tfshrink.models.sources.weight_names import checked
from tfshrink.models.sources.weight_names import split_name
from tfshrink.models.sources.weight_names import weight_shapes

_MODULES = {
    "embedding": "token_embd",
    "positions": "position_embd",
    "attention_norm": "attn_norm",
    "attention/query": "attn_q",
    "attention/key": "attn_k",
    "attention/value": "attn_v",
    "attention/output": "attn_output",
    "mlp_norm": "ffn_norm",
    "mlp/gate": "ffn_gate",
    "mlp/up": "ffn_up",
    "mlp/down": "ffn_down",
    "final_norm": "output_norm",
    "head": "output",
}
_FUSED = ("attention/query", "attention/key", "attention/value")


class GGUFSource(Source):
    """Reads a decoder of the Llama or GPT-2 family from one GGUF file.

    Weights are dequantized to float32 one tensor at a time; the rows of
    query and key, which GGUF keeps in the order of interleaved RoPE, come
    back in the order of Hugging Face (first half, second half).

    Args:
        path: The file.
        name: Shown in results; the file's stem by default.
        sha256: The file's hash where it is known already.

    Raises:
        UserError: A file that is not GGUF, truncated, corrupt, or of an
            architecture that is not supported.
    """

    def __init__(self, path, *, name=None, sha256=None):
        self.path = pathlib.Path(path)
        self.name = name or self.path.stem
        self._sha256 = sha256

    @functools.cached_property
    def header(self):
        """The metadata and the table of tensors."""
        return GGUFHeader.read(self.path)

    @functools.cached_property
    def config(self):
        """The `DecoderConfig` from the metadata."""
        factors = None
        if "rope_freqs.weight" in self.header.tensors:
            with open(self.path, "rb") as file:
                factors = self._dequantize(file, "rope_freqs.weight")
        with damage_named(self.path):
            return config_from_gguf(self.header, self.name, self.path, factors)

    @functools.cached_property
    def identity(self):
        """Name and SHA-256 of the file."""
        return {
            "name": self.name,
            "sha256": self._sha256 or file_sha256(self.path),
        }

    def weights(self):
        """Yields `(canonical name, float32 array)`."""
        with open(self.path, "rb") as file:
            for name, shape in weight_shapes(self.config).items():
                yield (
                    name,
                    checked(name, self._tensor(file, name), shape, self.path),
                )

    def tokenizer(self):
        """Returns the tokenizer that the metadata describe."""
        with damage_named(self.path):
            return tokenizer_from_gguf(
                self.header.metadata, self.config, self.path
            )

    def _tensor(self, file, name):
        index, module, leaf = split_name(name)
        family = self.header.metadata["general.architecture"]
        fused = family == "gpt2" and module in _FUSED
        stored = "attn_qkv" if fused else _MODULES[module]
        block = "" if index is None else f"blk.{index}."
        suffix = "bias" if leaf == "bias" else "weight"
        array = self._dequantize(file, f"{block}{stored}.{suffix}")
        if fused and array.shape[0] % 3 == 0:
            array = np.split(array, 3)[_FUSED.index(module)]
        if family == "llama" and module in _FUSED[:2]:
            heads = self.config.heads
            if module == "attention/key":
                heads = self.config.kv_heads
            array = self._restore_rows(name, array, heads)
        return array.T if leaf == "kernel" else array

    def _restore_rows(self, name, array, heads):
        if array.shape[0] % (2 * heads):
            raise UserError(
                f"{self.path}: `{name}` must have a multiple of {2 * heads} "
                f"outputs. Received: {array.shape[0]}"
            )
        return restore_rope_rows(array, heads)

    def _dequantize(self, file, name):
        from gguf import GGMLQuantizationType
        from gguf import quants

        tensor = self.header.tensors.get(name)
        if tensor is None:
            raise UserError(f"{self.path}: expected a tensor `{name}`")
        kind = GGMLQuantizationType(tensor.kind)
        file.seek(tensor.offset)
        data = file.read(tensor.size)
        if len(data) != tensor.size:
            raise UserError(
                f"{self.path}: expected {tensor.size} bytes of `{name}`. "
                f"Received: {len(data)} bytes (truncated?)"
            )
        rows = np.frombuffer(data, np.uint8)
        rows = rows.reshape(*tensor.shape[:-1], -1)
        try:
            values = quants.dequantize(rows, kind)
        except NotImplementedError as error:
            raise UserError(
                f"{self.path}: `{name}` must have a type that the gguf "
                f"package dequantizes. Received: {kind.name}"
            ) from error
        return values.reshape(tensor.shape)


def restore_rope_rows(array, heads):
    """Undoes the order that interleaved RoPE wants of query and key rows.

    GGUF interleaves the halves of each head, (0, D/2, 1, D/2 + 1, ...);
    rotating halves wants (0, 1, ..., D - 1).

    Args:
        array: (H·D, ...) rows of a weight or bias.
        heads: Heads H of this projection.
    """
    rows = array.reshape(heads, -1, 2, *array.shape[1:])  # (H, D/2, 2, ...)
    return rows.swapaxes(1, 2).reshape(array.shape)


def file_sha256(path):
    """Returns the SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
