"""TFRecord framing without TensorFlow: append, read, find a torn end.

A record is its length (uint64), the masked CRC-32C of the length, the data
and the masked CRC-32C of the data. TensorFlow's own writer cannot append.
"""

import os
import struct

from tfshrink.errors import UserError

HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")


def frame(data):
    """Returns `data` as one TFRecord."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (
            length,
            FOOTER.pack(masked_crc(length)),
            data,
            FOOTER.pack(masked_crc(data)),
        )
    )


def read_frames(file, check_data=True):
    """Yields (data, end) of the whole records of an open binary file.

    Args:
        file: Binary file at a record's start.
        check_data: Whether the data's checksum is compared (slow in pure
            Python; the header's always is).

    Yields:
        The record's bytes and the offset at which it ends. Stops where a
        record is cut short: a caller that expects the file to be whole
        compares the last offset with the file's size.

    Raises:
        UserError: A checksum does not match.
    """
    size = _size(file)
    while True:
        header = file.read(HEADER.size)
        if len(header) < HEADER.size:
            return
        length, crc = HEADER.unpack(header)
        if crc != masked_crc(header[:8]):
            raise _damaged(file)
        if length > size - file.tell():
            return  # cut short: what is not there is not asked for
        data = file.read(length)
        footer = file.read(FOOTER.size)
        if len(data) < length or len(footer) < FOOTER.size:
            return
        if check_data and FOOTER.unpack(footer)[0] != masked_crc(data):
            raise _damaged(file)
        yield data, file.tell()


def _size(file):
    """Bytes of an open file."""
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(place)
    return size


def _damaged(file):
    return UserError(
        f"{file.name} must be a TFRecord file: the checksum of the record "
        f"before byte {file.tell()} does not match."
    )


def masked_crc(data):
    """Returns the CRC-32C of `data`, rotated and shifted as TFRecord asks."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data):
    """Returns the CRC-32C (Castagnoli) of bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


TABLE = _table()
