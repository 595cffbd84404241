"""Decoders in the folder format of Hugging Face."""

import functools
import hashlib
import pathlib

from tfshrink.errors import UserError
from tfshrink.models.sources.byte_level import pretrained_tokenizer_class
from tfshrink.models.sources.huggingface_config import config_from_huggingface
from tfshrink.models.sources.safetensors_files import read_json
from tfshrink.models.sources.safetensors_files import SafetensorsFiles
from tfshrink.models.sources.safetensors_files import weight_files
from tfshrink.models.sources.source import Source
from tfshrink.models.sources.weight_names import checked
from tfshrink.models.sources.weight_names import split_name
from tfshrink.models.sources.weight_names import weight_shapes

_MODULES = {
    "llama": {
        "embedding": "embed_tokens",
        "attention_norm": "input_layernorm",
        "attention/query": "self_attn.q_proj",
        "attention/key": "self_attn.k_proj",
        "attention/value": "self_attn.v_proj",
        "attention/output": "self_attn.o_proj",
        "mlp_norm": "post_attention_layernorm",
        "mlp/gate": "mlp.gate_proj",
        "mlp/up": "mlp.up_proj",
        "mlp/down": "mlp.down_proj",
        "final_norm": "norm",
    },
    "gpt2": {
        "embedding": "wte",
        "positions": "wpe",
        "attention_norm": "ln_1",
        "attention/query": "attn.c_attn",
        "attention/key": "attn.c_attn",
        "attention/value": "attn.c_attn",
        "attention/output": "attn.c_proj",
        "mlp_norm": "ln_2",
        "mlp/up": "mlp.c_fc",
        "mlp/down": "mlp.c_proj",
        "final_norm": "ln_f",
    },
}
_ROOTS = {"llama": ("model.", "layers"), "gpt2": ("transformer.", "h")}
_FUSED = ("attention/query", "attention/key", "attention/value")


class HuggingFaceSource(Source):
    """Reads GPT-2 and Llama checkpoints: `config.json` and safetensors.

    Args:
        folder: Folder of the checkpoint.
        name: Shown in results; the folder's name by default.
        revision: Commit of the hub; local folders are hashed instead.
        fetch_weights: Called without arguments before weights are read;
            brings them into `folder`.

    Raises:
        UserError: A model type that is not supported, pickled weights, a
            file that is missing, truncated or corrupt.
    """

    def __init__(self, folder, *, name=None, revision=None, fetch_weights=None):
        self.folder = pathlib.Path(folder)
        self.name = name or self.folder.resolve().name
        self.revision = revision
        self._fetch_weights = fetch_weights or (lambda: None)

    @functools.cached_property
    def config(self):
        """The `DecoderConfig` from `config.json`."""
        generation = self.folder / "generation_config.json"
        return config_from_huggingface(
            self._values,
            self.name,
            self.folder / "config.json",
            read_json(generation) if generation.is_file() else None,
        )

    @functools.cached_property
    def identity(self):
        """Name and revision, or name and SHA-256 of config and weights."""
        if self.revision:
            return {"name": self.name, "revision": self.revision}
        digest = hashlib.sha256()
        for path in (self.folder / "config.json", *weight_files(self.folder)):
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return {"name": self.name, "sha256": digest.hexdigest()}

    def weights(self):
        """Yields `(canonical name, float32 array)`."""
        shapes = weight_shapes(self.config)
        self._fetch_weights()
        with SafetensorsFiles(self.folder) as files:
            prefix = self._prefix(files)
            for name, shape in shapes.items():
                yield name, self._tensor(files, prefix, name, shape)

    def tokenizer(self):
        """Returns the tokenizer of the folder.

        `tokenizer.json` is taken as it is; `transformers` rebuilds only
        those of folders without one.
        """
        tokenizer_class = pretrained_tokenizer_class()
        if not (self.folder / "tokenizer.json").is_file():
            from transformers import AutoTokenizer as tokenizer_class
        try:
            tokenizer = tokenizer_class.from_pretrained(
                self.folder, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # each kind of damage has its own
            cause = str(error).strip().split("\n")[0]
            raise UserError(
                f"{self.folder}: expected a tokenizer (tokenizer.json). "
                f"Received: {cause}"
            ) from error
        return self._with_special_tokens(tokenizer)

    @functools.cached_property
    def _values(self):
        path = self.folder / "config.json"
        if not path.is_file():
            raise UserError(f"{path}: expected the config of a checkpoint")
        return read_json(path)

    @property
    def _family(self):
        return self._values["model_type"]

    def _prefix(self, files):
        """Returns what precedes names; older GPT-2 files have nothing."""
        prefix, _ = _ROOTS[self._family]
        first = _MODULES[self._family]["embedding"] + ".weight"
        return prefix if prefix + first in files or first not in files else ""

    def _stored_name(self, prefix, name):
        index, module, leaf = split_name(name)
        suffix = "bias" if leaf == "bias" else "weight"
        if module == "head":
            return f"lm_head.{suffix}"
        if index is not None:
            prefix += f"{_ROOTS[self._family][1]}.{index}."
        return f"{prefix}{_MODULES[self._family][module]}.{suffix}"

    def _tensor(self, files, prefix, name, shape):
        stored = self._stored_name(prefix, name)
        _, module, leaf = split_name(name)
        columns = slice(None)
        if self._family == "gpt2" and module in _FUSED:
            width = self.config.width
            start = _FUSED.index(module) * width
            columns = slice(start, start + width)
            if stored in files and files.shape(stored)[-1] != 3 * width:
                raise UserError(
                    f"{files.file(stored)}: `{stored}` must have {3 * width} "
                    f"outputs. Received: {files.shape(stored)}"
                )
        array = files.read(stored, columns)
        # GPT-2 stores its blocks as (inputs, outputs), all else is turned.
        if leaf == "kernel" and (self._family == "llama" or module == "head"):
            array = array.T
        return checked(stored, array, shape, files.file(stored))

    def _with_special_tokens(self, tokenizer):
        roles = {"bos_token": self.config.bos}
        roles["eos_token"] = next(iter(self.config.eos), None)
        for role, index in roles.items():
            if getattr(tokenizer, role) is None and index is not None:
                token = tokenizer.convert_ids_to_tokens(index)
                setattr(tokenizer, role, token)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer
