"""Small message catalogues in gettext's binary format, for the tests."""

import os
import struct

HEADER = (
    "Content-Type: text/plain; charset={charset}\n"
    "Plural-Forms: nplurals=3; plural=(n==1 ? 0 : n==0 ? 1 : 2);\n"
)


def catalogue(messages, charset="utf-8"):
    """Returns the bytes of a catalogue of `{message: translation}`.

    `\\x04` parts a context from its message, and `\\0` plural forms.
    """
    entries = {"": HEADER.format(charset=charset), **messages}
    sides = ([*entries], [*entries.values()])
    start = 28 + 16 * len(entries)
    tables, text = b"", b""
    for side in sides:
        for message in side:
            data = message.encode(charset)
            tables += struct.pack("<2I", len(data), start + len(text))
            text += data + b"\0"
    count = len(entries)
    head = struct.pack(
        "<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, start
    )
    return head + tables + text


def write(folder, name, messages, charset="utf-8"):
    """Writes `FOLDER/locale/ro/LC_MESSAGES/NAME.mo`; returns its path."""
    own = os.path.join(folder, "locale", "ro", "LC_MESSAGES")
    os.makedirs(own, exist_ok=True)
    path = os.path.join(own, f"{name}.mo")
    with open(path, "wb") as file:
        file.write(catalogue(messages, charset))
    return path
