"""What the full-precision model does with the prompts, computed once."""

import dataclasses
import json
import os
import pathlib
import shutil
import tempfile

import numpy as np
from keras import ops

from tfshrink.files import sha256_json
from tfshrink.models.block_forward import BlockForward

VERSION = 1
KEPT_BYTES = 8 << 30  # of reference runs in the cache
ARRAYS = ("logits", "hidden", "maps")


@dataclasses.dataclass(frozen=True)
class Reference:
    """The run that plans are compared with.

    Args:
        logits: `(N, T, V)` float32.
        hidden: `(N, T, C)`, the last hidden states.
        maps: `(L, N, H, T, T)`, the attention of every block.
    """

    logits: np.ndarray
    hidden: np.ndarray
    maps: np.ndarray

    @property
    def top(self):
        """The likeliest next tokens, int32 `(N, T)`."""
        return np.argmax(self.logits, axis=-1).astype("int32")


def reference_run(source, prompts, *, dtype="float32", folder=None):
    """Runs a model as it is, or reads what an earlier run left.

    Args:
        source: `Source` of the model.
        prompts: `Prompts`.
        dtype: Compute type.
        folder: Where runs are kept, newest first, up to `KEPT_BYTES`; `None`
            keeps none.

    Returns:
        `Reference`.
    """
    tokens = np.ascontiguousarray(prompts.tokens)
    if folder is None:
        return run(source, tokens, dtype)
    key = sha256_json(
        {
            "version": VERSION,
            "model": source.identity,
            "dtype": dtype,
            "tokens": tokens,
        }
    )
    path = pathlib.Path(folder) / key[:24]
    found = _read(path, tokens.shape)
    if found is None:
        found = run(source, tokens, dtype)
        _write(path, found)
        _make_room(path)
    return found


def run(source, tokens, dtype="float32"):
    """The `Reference` of tokens `(N, T)`, in full precision."""
    from tfshrink.models.load import load_model

    model = load_model(source, dtype=dtype)
    return model_reference(model, tokens)


def model_reference(model, tokens):
    """The same of a model that is loaded, without quantization."""
    forward = BlockForward(model, tokens.shape[1])
    x, maps = forward.embed(tokens), []
    for index in range(model.config.layers):
        x, seen = forward.block_and_maps(index, x)
        maps.append(_float(seen))
    hidden = forward.finish(x)
    head = forward.head()
    logits = [_float(ops.matmul(row, head)) for row in hidden]
    return Reference(np.stack(logits), _float(hidden), np.stack(maps))


def _float(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))


def _read(path, shape):
    """What a folder holds, or `None`."""
    try:
        json.loads((path / "shape.json").read_text("utf-8"))
        os.utime(path)  # it was wanted again
        arrays = [
            np.load(path / f"{name}.npy", mmap_mode="r") for name in ARRAYS
        ]
    except (OSError, ValueError, EOFError):
        return None
    found = Reference(*arrays)
    return found if found.hidden.shape[:2] == shape else None


def _write(path, found):
    """Keeps a run, whole or not at all; a full disk costs only the keeping."""
    hidden = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = pathlib.Path(tempfile.mkdtemp(prefix=".", dir=path.parent))
        for name in ARRAYS:
            np.save(hidden / f"{name}.npy", getattr(found, name))
        (hidden / "shape.json").write_text(json.dumps(found.logits.shape))
        shutil.rmtree(path, ignore_errors=True)
        hidden.rename(path)
    except OSError:
        if hidden is not None:
            shutil.rmtree(hidden, ignore_errors=True)


def _make_room(newest):
    """Removes the runs that were wanted longest ago."""
    runs = [one for one in newest.parent.iterdir() if one.is_dir()]
    runs.sort(key=lambda one: one.stat().st_mtime, reverse=True)
    total = 0
    for one in runs:
        total += sum(file.stat().st_size for file in one.iterdir())
        if total > KEPT_BYTES and one != newest:
            shutil.rmtree(one, ignore_errors=True)
