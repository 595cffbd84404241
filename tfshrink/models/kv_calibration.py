"""Statistics of keys and values, measured once and kept, or in a file."""

import contextlib
import json
import pathlib
from zipfile import BadZipFile

import numpy as np

from tfshrink.arrays import read_arrays
from tfshrink.data.documents import load_examples
from tfshrink.data.progress_bar import progress_bar
from tfshrink.errors import DAMAGE
from tfshrink.errors import UserError
from tfshrink.files import atomic_write
from tfshrink.files import cache_folder
from tfshrink.files import sha256_json
from tfshrink.models.kv_statistics import check_statistics
from tfshrink.models.kv_statistics import kv_statistics
from tfshrink.models.kv_statistics import KVStatistics
from tfshrink.models.plain_decoder import check_plain_decoder

DATA, SPLIT = "pydoc", "calibrate"  # never text that is judged
ROWS, CONTEXT = 7, 2048  # windows of it, and tokens of a window
VERSION = 3
UNREADABLE = (OSError, BadZipFile, NotImplementedError, *DAMAGE)


def load_statistics(source, folder=None):
    """The `KVStatistics` of a model, measured once and kept.

    Args:
        source: `Source`.
        folder: Where they are kept; default: the cache folder.
    """
    tokens = calibration_text(source)
    key = sha256_json(
        {
            "version": VERSION,
            "model": source.identity,
            "tokens": tokens.tolist(),
        }
    )
    folder = cache_folder() / "kv" if folder is None else folder
    path = folder / f"{key[:24]}.npz"
    try:
        return _read(path)[0]
    except UNREADABLE:
        pass  # none yet, or a damaged file
    found = measure_statistics(source, tokens)
    with contextlib.suppress(OSError):  # a full disk costs the keeping
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, found, {})
    return found


def calibrate(model, path, *, data=DATA, rows=ROWS, overwrite=False):
    """Writes the statistics of a model on a text into a file.

    Args:
        model: What `--model` takes.
        path: File to write, whole or not at all.
        data: Text, as `--data` takes it.
        rows: Windows of it, of 2,048 tokens or the model's limit.
        overwrite: Replaces a file that is there.

    Returns:
        Dict of `model`, `data`, `tokens`: what the file says of itself.

    Raises:
        UserError: The file is there, or the text is not.
    """
    from tfshrink.models.sources import open_source

    path = pathlib.Path(path)
    if path.exists() and not overwrite:
        raise UserError(
            "`--output` must be new, or come with --overwrite. "
            f"Received: {path}, which is there"
        )
    source = open_source(model)
    check_plain_decoder(source.config, "model")
    tokens = calibration_text(source, data, rows)
    about = {
        "version": VERSION,
        "model": source.identity,
        "data": data,
        "tokens": int(tokens.size),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, measure_statistics(source, tokens), about)
    return about


def read_calibration(path, source):
    """The `KVStatistics` in a file of `calibrate`.

    Args:
        path: The file.
        source: `Source` of the model that it is to be of.

    Raises:
        UserError: No such file, a damaged one, or one of another model.
    """
    try:
        found, about = _read(path)
        model, version = dict(about["model"]), about["version"]
    except UNREADABLE as error:
        raise UserError(
            "`kv` calibration must be a file of bin/calibrate. "
            f"Received: {path} ({error})"
        ) from error
    if version != VERSION:
        raise UserError(
            f"`kv` calibration must be of version {VERSION}: bin/calibrate "
            f"makes a new one. Received: {path}, of version {version}"
        )
    if sha256_json(model) != sha256_json(source.identity):
        own, other = (
            ", ".join(f"{key} {value}" for key, value in one.items())
            for one in (source.identity, model)
        )
        raise UserError(
            f"`kv` calibration must be that of the model, {own}. "
            f"Received: {path}, of {other}"
        )
    check_statistics(found, source.config, path)
    return found


def calibration_text(source, data=DATA, rows=ROWS):
    """Tokens of the calibrate split of a text, `(N, T)`."""
    eos = source.config.eos
    return load_examples(
        data,
        source.tokenizer(),
        min(CONTEXT, source.config.context),
        separator=eos[0] if eos else 0,
        split=SPLIT,
    ).tokens[:rows]


def measure_statistics(source, tokens):
    """Runs a model over tokens `(N, T)`; returns its `KVStatistics`."""
    from tfshrink.models.load import load_model

    model = load_model(source)
    with progress_bar("K/V statistics", source.config.layers) as show:
        return kv_statistics(
            model,
            tokens,
            progress=lambda done: show(done, done * tokens.size),
        )


def _read(path):
    """The statistics in a file, and what it says of itself."""
    arrays = read_arrays(path)
    about = dict(json.loads(str(arrays.pop("about"))))
    return KVStatistics(**arrays), about


def _write(path, found, about):
    with atomic_write(path, "wb") as file:
        np.savez(file, about=np.array(json.dumps(about)), **vars(found))
