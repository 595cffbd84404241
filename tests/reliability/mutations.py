"""Damage to files: flipped bytes, cuts, lengths that lie, swapped types."""

import io
import json
import struct
import zipfile

from tfshrink.data import tfrecord

# What a number or a text of JSON is replaced by.
VALUES = (
    None,
    True,
    -1,
    0,
    0.5,
    2**31,
    2**63,
    10**30,
    float("inf"),
    float("nan"),
    "",
    "x",
    "../x",
    "\ud800",
    [],
    [[]],
    [0],
    {},
    {"": 0},
    {"x": [1]},
)
LENGTHS = (
    0,
    1,
    255,
    2**16,
    2**24,
    2**31 - 1,
    2**32 - 1,
    2**40,
    2**63,
    2**64 - 1,
)
DEPTH = 100_000  # brackets of a text that no recursion survives


def mutated(data, random, suffix=""):
    """A damaged copy of a file's bytes.

    Args:
        data: Bytes, or those of a whole file of another kind's.
        random: `random.Random`.
        suffix: Ending of the file, which says what lies under its checksums
            and lengths: half of the copies are damaged there.
    """
    inside = INSIDE.get(suffix)
    if inside is not None and random.random() < 0.5:
        return inside(data, random)
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        data = random.choice(KINDS)(data, random)
    return data


def flipped(data, random):
    """Some bits are others."""
    data = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 16))):
        if data:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(data)


def overwritten(data, random):
    """Some bytes are others."""
    place = random.randrange(len(data) + 1)
    count = random.choice((1, 2, 4, 32))
    return data[:place] + random.randbytes(count) + data[place + count :]


def truncated(data, random):
    """The end is missing."""
    return data[: random.randrange(len(data) + 1)]


def lengthened(data, random):
    """Four or eight bytes, likely a length, are another number."""
    code = random.choice(("<I", "<Q", ">I"))
    size = struct.calcsize(code)
    # Lengths stand at the beginning, mostly.
    last = len(data) if random.random() < 0.5 else min(len(data), 256)
    place = random.randrange(max(1, last - size))
    number = random.choice(LENGTHS) % 2 ** (8 * size)
    return data[:place] + struct.pack(code, number) + data[place + size :]


def spliced(data, random):
    """A piece of the file stands somewhere else, too, or instead."""
    start = random.randrange(len(data) + 1)
    piece = data[start : start + random.choice((1, 8, 64, 1024))]
    place = random.randrange(len(data) + 1)
    skip = random.choice((0, len(piece)))
    return data[:place] + piece + data[place + skip :]


def removed(data, random):
    """A piece is missing."""
    place = random.randrange(len(data) + 1)
    return data[:place] + data[place + random.choice((1, 8, 64)) :]


def repeated(data, random):
    """A short piece comes many times."""
    start = random.randrange(len(data) + 1)
    piece = data[start : start + random.choice((1, 2, 4))]
    count = random.choice((10, 1000, DEPTH))
    return data[:start] + piece * count + data[start:]


KINDS = (flipped, overwritten, truncated, lengthened, spliced, removed)
KINDS += (repeated,)


def swapped(data, random):
    """JSON that is still JSON: a value is of another type, or a key gone."""
    try:
        values = json.loads(data)
    except ValueError:
        return flipped(data, random)
    for _ in range(random.choice((1, 1, 2, 4))):
        values = _swapped(values, random)
    return json.dumps(values).encode("utf-8", "surrogatepass")


def _swapped(values, random):
    places = list(_places(values))
    if not places or random.random() < 0.02:
        return random.choice(VALUES)
    own, key = random.choice(places)
    kind = random.randrange(8)
    if kind == 0:
        del own[key]
    elif kind == 1 and isinstance(own, dict):
        own[random.choice(("", "x", f"{key}x"))] = own.pop(key)
    elif kind == 2:
        other, place = random.choice(places)
        own[key] = json.loads(json.dumps(other[place]))
    elif kind == 3 and isinstance(own[key], (int, float)):
        own[key] = own[key] * random.choice((-1, 2, 0.5, 1000))
    elif kind == 4 and isinstance(own[key], str):
        text = mutated(own[key].encode("utf-8", "replace"), random)
        own[key] = text[:9999].decode("utf-8", "replace")
    elif kind == 5 and isinstance(own[key], list):
        own[key] = own[key] * 2
    else:
        own[key] = json.loads(json.dumps(random.choice(VALUES)))
    return values


def _places(values):
    """Every `(container, key)` below a value."""
    if isinstance(values, dict):
        keys = list(values)
    else:
        keys = range(len(values)) if isinstance(values, list) else ()
    for key in keys:
        yield values, key
        yield from _places(values[key])


def _lines(data, random):
    """One line of JSON lines."""
    lines = data.split(b"\n")
    place = random.randrange(len(lines))
    lines[place] = swapped(lines[place], random)
    return b"\n".join(lines)


def _header(data, random):
    """The header of safetensors, behind a length that is right."""
    size = struct.unpack("<Q", data[:8])[0]
    header = swapped(data[8 : 8 + size], random)
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def _member(data, random):
    """One array of an archive of NumPy, under a checksum that is right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(sorted(parts))
    if random.random() < 0.1:
        del parts[name]
    elif random.random() < 0.5:  # its shape and type, which come first
        head = mutated(parts[name][:128], random)
        parts[name] = head + parts[name][128:]
    else:
        parts[name] = mutated(parts[name], random)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, own in parts.items():
            archive.writestr(name, own)
    return file.getvalue()


def _record(data, random):
    """One record under checksums that are right."""
    records = [own for own, _ in tfrecord.read_frames(io.BytesIO(data))]
    place = random.randrange(len(records))
    if random.random() < 0.1:  # the length itself
        length = struct.pack("<Q", random.choice(LENGTHS))
        crc = tfrecord.FOOTER.pack(tfrecord.masked_crc(length))
        return length + crc + data[tfrecord.HEADER.size :]
    records[place] = mutated(records[place], random)
    return b"".join(map(tfrecord.frame, records))


INSIDE = {
    ".json": swapped,
    ".jsonl": _lines,
    ".safetensors": _header,
    ".npz": _member,
    ".tfrecord": _record,
}
