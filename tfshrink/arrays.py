"""Arrays of NumPy's `.npz` files, read as large as the file, never larger."""

import tokenize
import zipfile

import numpy as np
from numpy.lib import format as npy


def read_arrays(path):
    """Reads what `np.savez` wrote.

    `np.load` believes the sizes that an array names, and asks for as much
    memory before it looks whether the file has as much.

    Args:
        path: The file.

    Returns:
        Dict of arrays.

    Raises:
        ValueError: An array names another size than it has, or is packed.
        OSError, zipfile.BadZipFile: The file cannot be read, or is no archive.
    """
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        return {
            entry.filename.removesuffix(".npy"): _array(archive, entry)
            for entry in archive.infolist()
        }


def _array(archive, entry):
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{entry.filename} is compressed")
    with archive.open(entry) as file:
        version = npy.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{entry.filename} is of version {version}")
        try:
            shape, fortran, dtype = npy.read_array_header_1_0(file)
        except tokenize.TokenError as error:  # of what should be a dict
            raise ValueError(f"{entry.filename}: {error}") from error
        data = file.read()
    if dtype.hasobject:
        raise ValueError(f"{entry.filename} holds objects")
    count = int(np.prod(shape, dtype=object))
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(data):
        raise ValueError(f"{entry.filename} of {len(data)} bytes is {shape}")
    array = np.frombuffer(bytearray(data), dtype, count)
    return array.reshape(shape, order="F" if fortran else "C")
