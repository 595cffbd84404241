"""Files that are either whole or not there, and their hashes."""

import contextlib
import errno
import glob
import hashlib
import json
import math
import os
import re
import shutil
from pathlib import Path

from tfshrink.errors import UserError
from tfshrink.lock import Lock


@contextlib.contextmanager
def atomic_write(path, mode="w"):
    """Opens a file that appears under its name only once it is complete.

    What is written goes to a hidden file in the same folder, which takes
    the place of `path` when the block ends without an error. After an
    error (a full disk, an interrupt) the old file is as it was and the
    hidden one is gone.

    Args:
        path: The file to write; missing parent folders are made.
        mode: `"w"` for UTF-8 text, `"wb"` for bytes.

    Yields:
        The open file.

    Raises:
        OSError: The system's error, always with the name of `path`, which
            must not be a folder or a device.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        # Renaming onto /dev/full would replace the device by a file.
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    hidden = unfinished(path)
    encoding = None if "b" in mode else "utf-8"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(hidden, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(hidden, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(hidden)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            hidden.unlink()


@contextlib.contextmanager
def atomic_folder(path, argument="--output"):
    """Makes a folder that appears under its name only once it is complete.

    What a killed process left beside it is removed.

    Args:
        path: The folder; one that is there is replaced at the end.
        argument: Named where another process writes it.

    Yields:
        A hidden folder beside it, to be filled.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for other in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(UserError):  # somebody is at it
            lock = Lock(other, argument)
            shutil.rmtree(other, ignore_errors=True)  # of a killed process
            del lock
    hidden, earlier = unfinished(path), None
    hidden.mkdir()
    lock = Lock(hidden, argument)
    try:
        yield hidden
        if path.exists():
            # Two renames: a kill finds one of both folders, and no half one.
            earlier = unfinished(path.with_name(f"{path.name}.earlier"))
            os.replace(path, earlier)
        os.replace(hidden, path)
        if earlier is not None:
            shutil.rmtree(earlier)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        del lock


def unfinished(path):
    """Where this process writes what is to become the file or folder `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def is_unfinished(path):
    """Whether a name is that of something that was never finished."""
    return re.fullmatch(r"\..+\.\d+\.tmp", path.name) is not None


def write_json(path, value):
    """Writes `value` as indented JSON, whole or not at all.

    NumPy numbers and arrays become numbers and lists; NaN and infinities,
    which JSON does not know, become `null`.
    """
    text = json.dumps(plain(value), indent=2, allow_nan=False)
    with atomic_write(path) as file:
        file.write(text + "\n")


def plain(value):
    """The same value in dicts, lists, strings and finite numbers."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy numbers and arrays
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value


def sha256_file(path):
    """The SHA-256 of a file's bytes, in hexadecimal; reads it in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value):
    """The SHA-256 of a value's JSON with sorted keys, in hexadecimal."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def cache_folder():
    """Returns the folder of downloads, and of what is slow to compute."""
    folder = os.environ.get("TFSHRINK_CACHE") or "~/.cache/tfshrink"
    return Path(folder).expanduser()
