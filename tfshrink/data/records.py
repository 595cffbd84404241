"""Files of rows that grow and survive being cut short: JSONL and TFRecord."""

import contextlib
import json
import os

import numpy as np

from tfshrink.data.tf_example import decode_example
from tfshrink.data.tf_example import encode_example
from tfshrink.data.tfrecord import frame
from tfshrink.data.tfrecord import read_frames
from tfshrink.errors import DAMAGE
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError


def format_of(path):
    """Returns the format that a file's ending names."""
    ending = os.path.splitext(path.removesuffix(PARTIAL))[1].removeprefix(".")
    if ending not in FORMATS:
        raise unknown_choice(f"ending of {path}", ending, FORMATS)
    return ending


def read_records(path):
    """Yields the rows of a `.jsonl` or `.tfrecord` file.

    Raises:
        UserError: The file is missing, damaged or ends inside a row.
    """
    whole = 0
    for row, end in _scan(path):
        whole = end
        yield row
    torn = os.path.getsize(path) - whole
    if torn:
        raise UserError(
            f"{path} ends inside a row ({torn} bytes after the last whole "
            "one): it was cut short."
        )


def repair_records(path):
    """Returns the whole rows of a file and cuts off a torn last one."""
    rows, whole = [], 0
    for row, end in _scan(path):
        rows.append(row)
        whole = end
    os.truncate(path, whole)
    if rows and format_of(path) == "jsonl":
        _end_line(path)
    return rows


def append_records(path, rows):
    """Adds `rows` to a file and waits until they are on the disk.

    Raises:
        UserError: They cannot be written (a full disk); the file is then as
            it was.
    """
    encode = FORMATS[format_of(path)][0]
    data = b"".join(map(encode, rows))
    size = os.path.getsize(path) if os.path.exists(path) else 0
    try:
        with open(path, "ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            os.truncate(path, size)
        raise UserError(
            f"{path} could not be written: {error.strerror}."
        ) from error


def _scan(path):
    """Yields (row, offset of its end) of the whole rows."""
    scan = FORMATS[format_of(path)][1]
    try:
        with open(path, "rb") as file:
            yield from scan(file)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.") from error


def _end_line(path):
    """Adds the newline that a whole last line may lack."""
    with open(path, "rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.write(b"\n")


def _encode_json(row):
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _scan_json(file):
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except DAMAGE as error:
            if not line.endswith(b"\n"):
                return  # torn
            raise UserError(
                f"{file.name} line {number} must be JSON. Found: {error}"
            ) from error
        yield row, file.tell()


def _encode_tfrecord(row):
    features = {
        key: json.dumps(value) if isinstance(value, dict) else value
        for key, value in row.items()
    }
    return frame(encode_example(features))


def _scan_tfrecord(file):
    for data, end in read_frames(file):
        try:
            features = decode_example(data)
            row = {key: _plain(key, v) for key, v in features.items()}
        except DAMAGE as error:
            raise UserError(
                f"{file.name}: the record that ends at byte {end} must be a "
                "tf.train.Example of gen_data."
            ) from error
        yield row, end


def _plain(key, values):
    """Returns a feature as the JSONL row has it."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    else:
        values = [value.decode(errors="replace") for value in values]
    if key == "tokens" or len(values) != 1:
        return values
    return json.loads(values[0]) if key == "settings" else values[0]


PARTIAL = ".partial"
FORMATS = {
    "jsonl": (_encode_json, _scan_json),
    "tfrecord": (_encode_tfrecord, _scan_tfrecord),
}
