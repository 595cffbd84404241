"""`tf.train.Example` to and from a dict, without TensorFlow.

The message is `features { feature { key: ..., value: ... } }`, a value being
a list of bytes (field 1), of floats (2) or of integers (3). TensorFlow Datasets
and gen_data's TFRecord files hold these.
"""

import numpy as np

from tfshrink.errors import DAMAGE
from tfshrink.errors import UserError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # protobuf wire types


def encode_example(features):
    """Returns the serialized example.

    Args:
        features: `{name: value}`; a value is a string, bytes, an integer, a
            float, or a sequence of one of these.

    Returns:
        Bytes that `tf.io.parse_single_example` reads.
    """
    entries = b""
    for name in sorted(features):
        value = _field(1, name.encode()) + _field(2, _feature(features[name]))
        entries += _field(1, value)
    return _field(1, entries)


def decode_example(data):
    """Returns `{name: values}` of a serialized example.

    Args:
        data: Bytes of a `tf.train.Example`.

    Returns:
        A dict; values are a list of bytes, or an int64 or float32 array.

    Raises:
        UserError: The bytes are no such example.
    """
    features = {}
    try:
        for _, body in _fields(data):
            for _, entry in _fields(body):
                parts = dict(_fields(entry))
                features[parts[1].decode()] = _values(parts.get(2, b""))
    except DAMAGE as error:
        raise UserError(
            "A record must be a tf.train.Example. Received: "
            f"{len(data)} other bytes ({type(error).__name__}: {error})"
        ) from error
    return features


def _feature(value):
    if isinstance(value, (str, bytes, int, float, np.number)):
        value = [value]
    if len(value) and isinstance(value[0], (str, bytes)):
        items = [v.encode() if isinstance(v, str) else v for v in value]
        return _field(1, b"".join(_field(1, item) for item in items))
    array = np.asarray(value)
    if array.dtype.kind == "f":
        return _field(2, _field(1, array.astype("<f4").tobytes()))
    return _field(3, _field(1, b"".join(_varint(int(v)) for v in array)))


def _values(feature):
    for kind, body in _fields(feature):
        if kind == 1:
            return [_bytes(item) for _, item in _fields(body)]
        parts = [item for _, item in _fields(body)]
        if kind == 2:
            return np.frombuffer(b"".join(parts), "<f4")
        return np.array(list(_integers(parts)), np.int64)
    return []


def _bytes(item):
    if not isinstance(item, bytes):
        raise ValueError("a number instead of bytes")
    return item


def _integers(parts):
    for part in parts:
        if isinstance(part, int):  # not packed
            yield _signed(part)
            continue
        offset = 0
        while offset < len(part):
            value, offset = _read_varint(part, offset)
            yield _signed(value)


def _signed(value):
    return value - (1 << 64) if value >> 63 else value


def _fields(data):
    """Yields (field number, value) of a message, in order."""
    offset = 0
    while offset < len(data):
        tag, offset = _read_varint(data, offset)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, offset = _read_varint(data, offset)
            yield number, value
            continue
        if wire == LENGTH:
            length, offset = _read_varint(data, offset)
        else:
            length = {FIXED64: 8, FIXED32: 4}[wire]
        yield number, data[offset : offset + length]
        offset += length


def _field(number, body):
    return _varint(number << 3 | LENGTH) + _varint(len(body)) + body


def _varint(value):
    if 0 <= value < 128:
        return bytes((value,))
    value &= (1 << 64) - 1  # negative integers are two's complement
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data, offset):
    value = shift = 0
    while True:
        byte = data[offset]
        offset += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, offset
        shift += 7
        if shift > 63:
            raise ValueError("an integer of more than 64 bits")
