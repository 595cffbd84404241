"""Checkpoints of the Hugging Face hub."""

import errno
import functools
import pathlib

from tfshrink.errors import UserError
from tfshrink.models.sources.huggingface import HuggingFaceSource

_SMALL_FILES = [
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "vocab.json",
    "merges.txt",
    "*.safetensors.index.json",
]
_WEIGHTS = ["*.safetensors"]
_OFFLINE = (
    "Without a network use --model=smollm2-135m, or the path of a folder or "
    "GGUF file"
)


def open_hub(name):
    """Returns the source of the hub's repository `name`.

    Config and tokenizer are fetched now, weights when they are read.
    Pickles are never fetched.

    Raises:
        UserError: No network, no such repository, no access, a full disk.
    """
    folder = pathlib.Path(_download(name, _SMALL_FILES))
    revision = folder.name
    return HuggingFaceSource(
        folder,
        name=name,
        revision=revision,
        fetch_weights=functools.partial(
            _download, name, _WEIGHTS, revision=revision
        ),
    )


def _download(name, patterns, revision=None):
    from huggingface_hub import errors
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(
            name,
            revision=revision,
            allow_patterns=patterns,
            ignore_patterns=["*/*", "consolidated*"],
        )
    except errors.GatedRepoError as error:
        raise UserError(
            f"--model={name}: its authors ask you to accept their terms on "
            "the hub, then log in with `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"--model={name}: the Hugging Face hub has no such repository "
            "(or it is private). Check the spelling"
        ) from error
    except errors.HFValidationError as error:
        raise UserError(
            f"--model={name}: expected a repository as org/name"
        ) from error
    except Exception as error:  # httpx, urllib3, OSError, by what is down
        raise UserError(_failure(name, error)) from error


def _failure(name, error):
    if getattr(error, "errno", None) == errno.ENOSPC:
        return f"--model={name}: the disk is full: {error.strerror}"
    cause = str(error).strip().split("\n")[0] or type(error).__name__
    return f"--model={name} could not be fetched ({cause}). {_OFFLINE}"
