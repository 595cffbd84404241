"""The folder that an export leaves: the file, what it is, its tokenizer."""

import json
import os
import pathlib

from tfshrink.decoder_config import DecoderConfig
from tfshrink.errors import DAMAGE
from tfshrink.errors import damage_named
from tfshrink.errors import UserError
from tfshrink.exit_spec import ExitSpec
from tfshrink.files import sha256_file
from tfshrink.files import sha256_json
from tfshrink.models.sources.config_checks import checked_config
from tfshrink.plan import Plan

METADATA = "metadata.json"
TOKENIZER = "tokenizer.json"
CHAT = "chat_template.jinja"
CARD = "README.md"
VERSION = 2  # 1 held its cache in another layout
FIELDS = ("version", "config", "plan", "formats")


class Artefact:
    """An export, opened and checked.

    Args:
        folder: What `bin/export` wrote.
        format: Which of its formats is meant.

    Attributes:
        metadata: Dict of metadata.json.
        path: The model file of that format.

    Raises:
        UserError: a file is missing, damaged, or not the one that the
            metadata describes.
    """

    def __init__(self, folder, format="litert"):
        self.folder = pathlib.Path(folder)
        self.metadata = self._read()
        formats = self.metadata["formats"]
        if format not in formats:
            raise UserError(
                f"`--artifact` must be a folder with a {format} export. "
                f"Received: {folder}, with {', '.join(formats) or 'none'}"
            )
        self.path = self.folder / formats[format]["file"]
        self._check(formats[format])

    def _read(self):
        path = self.folder / METADATA
        try:
            values = json.loads(path.read_text("utf-8"))
            missing = [name for name in FIELDS if name not in values]
        except (OSError, *DAMAGE) as error:
            raise UserError(
                f"`--artifact` must be a folder of bin/export, with a "
                f"{METADATA}. Received: {self.folder} ({error})"
            ) from error
        if missing or values["version"] != VERSION:
            wrong = missing or f"version {values['version']}"
            raise UserError(
                f"`{path}` must be metadata of version {VERSION}. Wrong: "
                f"{wrong}"
            )
        with damage_named(path):
            _check_metadata(values, path)
        return values

    def _check(self, expected):
        if not os.path.exists(self.path):  # no name is too long for it
            raise UserError(
                f"`--artifact` must hold {self.path.name}. "
                f"Received: {self.folder}, which does not"
            )
        found = size(self.path)
        if found != expected["bytes"]:
            raise UserError(
                f"`{self.path}` must have the {expected['bytes']} bytes "
                f"that {METADATA} names. Received: {found}"
            )
        if digest(self.path) != expected["sha256"]:
            raise UserError(
                f"`{self.path}` must be the file that {METADATA} describes: "
                "its SHA-256 is another"
            )

    def tokenizer(self):
        """`tokenizers.Tokenizer` of the model."""
        from tokenizers import Tokenizer

        path = self.folder / TOKENIZER
        try:
            return Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise UserError(
                f"`{path}` must be the tokenizer of the export. "
                f"Received: {error}"
            ) from error

    def chat_template(self):
        """The model's chat template, or `None`."""
        path = self.folder / CHAT
        with damage_named(path):
            return path.read_text("utf-8") if path.is_file() else None


def _check_metadata(values, path):
    """Raises a `UserError`, or one of `DAMAGE`, for what export never wrote."""
    config = checked_config(DecoderConfig.from_json(values["config"]), path)
    plan = Plan.from_json(values["plan"], str(path))
    if plan.layers != config.layers:
        raise UserError(
            f"`{path}` must have a plan of {config.layers} blocks. "
            f"Received: {plan.layers}"
        )
    if values.get("exit") is not None:
        ExitSpec.from_json(values["exit"], f"{path}: exit")
    texts = [config.name, values.get("model", "")]
    texts += dict(values.get("special_tokens") or {}).values()
    for name, own in values["formats"].items():
        texts += [own["file"], own["sha256"]]
        if pathlib.PurePath(own["file"]).name != own["file"]:
            raise UserError(
                f"`{path}` must name a file beside it as {name}. "
                f"Received: {own['file']}"
            )
        if type(own["bytes"]) is not int:
            raise TypeError(f"bytes of {own['bytes']!r}")
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"no text: {texts}")


def size(path):
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in _files(path))


def digest(path):
    """SHA-256 of a file; of a folder that of its files' names and hashes."""
    path = pathlib.Path(path)
    if path.is_file():
        return sha256_file(path)
    return sha256_json(
        {str(f.relative_to(path)): sha256_file(f) for f in _files(path)}
    )


def _files(path):
    path = pathlib.Path(path)
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file())
