"""Where decoders come from: embedded, GGUF files, Hugging Face."""

import pathlib
import re

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError


def _smollm2(name):
    from tfshrink.models.sources.smollm2 import open_smollm2

    return open_smollm2()


def _tiny(name):
    from tfshrink.models.sources.tiny import TinySource

    return TinySource(name)


def _scratch(name):
    from tfshrink.models.sources.scratch import ScratchSource

    return ScratchSource(name)


def _hub(name):
    from tfshrink.models.sources.hub import open_hub

    return open_hub(name)


# The hub's few names without an organisation are written out: any other
# single word is a typo, not a repository.
SOURCES = {
    "smollm2-135m": _smollm2,
    "tiny": _tiny,
    "tiny-gpt2": _tiny,
    "tiny-transformer": _scratch,
    "tiny-ultra": _scratch,
    "transformer": _scratch,
    "transformer-pre": _scratch,
    "ultra": _scratch,
    "gpt2": _hub,
    "distilgpt2": _hub,
    "gpt2-medium": _hub,
    "gpt2-large": _hub,
    "gpt2-xl": _hub,
}


def open_source(name, folder=None):
    """Returns the `Source` that `--model=<name>` means.

    Args:
        name: `"smollm2-135m"` (the embedded default), `"tiny"`,
            `"tiny-gpt2"`, a shape that a run trains from scratch
            (`"transformer"`, `"transformer-pre"`, `"ultra"`), the path
            of a `.gguf` file or of a Hugging Face folder, `"gpt2"` and its
            sizes, or `"org/name"` on the hub.
        folder: Run folder that holds what such a run made of a tokenizer.

    Raises:
        UserError: A name that is none of these, or a source that cannot be
            reached or read.

    Example:
        >>> open_source("tiny").config.width
        64
    """
    name = str(name)
    if name in SOURCES:
        source = SOURCES[name](name)
        if source.scratch:
            source.folder = folder
        return source
    path = pathlib.Path(name).expanduser()
    if name and path.is_dir():
        from tfshrink.models.sources.huggingface import HuggingFaceSource

        return HuggingFaceSource(path)
    if path.is_file():
        return _open_file(path)
    if path.suffix == ".gguf" or re.match(r"[./~\\]", name):
        raise UserError(
            f"--model={name}: expected a GGUF file or a folder with "
            "config.json and safetensors. Received: a path with nothing there"
        )
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        return _hub(name)
    error = unknown_choice("--model", name, SOURCES)
    raise UserError(f"{error} A path or org/name is accepted too.")


def _open_file(path):
    from tfshrink.models.sources.gguf_file import GGUFSource
    from tfshrink.models.sources.safetensors_files import is_pickle
    from tfshrink.models.sources.safetensors_files import refuse_pickle

    if is_pickle(path):
        refuse_pickle(path)
    if path.suffix == ".safetensors":
        raise UserError(
            f"{path}: expected the folder that holds this file, with its "
            "config.json"
        )
    return GGUFSource(path)
