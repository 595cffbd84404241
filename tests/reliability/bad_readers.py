"""Readers with the defects that the fuzzer is to find, to try it on."""

import ctypes
import time

from tests.reliability.readers import Reader


def _make(folder):
    (folder / "x.txt").write_text("whole")


def _reader(fail):
    def read(folder):
        if (folder / "x.txt").read_bytes() != b"whole":
            fail()

    return Reader(_make, read)


def _crash():
    ctypes.string_at(0)


def _hoard():
    bytearray(b"x") * (300 << 20)  # zeros would cost nothing


BAD = {
    "bad_crash": _reader(_crash),
    "bad_error": _reader(lambda: {}["x"]),
    "bad_hang": _reader(lambda: time.sleep(600)),
    "bad_hoard": _reader(_hoard),
    "bad_size": _reader(lambda: bytearray(1 << 40)),
}
