"""Splits that depend on a key's hash alone, so that they never mix."""

import hashlib


def position(key):
    """Returns where `key` falls in [0, 1): its SHA-256 as a fraction."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def split_of(key, shares):
    """Returns the split that `key` belongs to.

    Args:
        key: String; the same key always falls in the same split.
        shares: `{split: share}`, in order; the shares sum to 1.

    Returns:
        One of the names in `shares`.
    """
    place = position(key)
    for split, share in shares.items():
        place -= share
        if place < 0:
            return split
    return split  # the shares' sum was rounded below 1


def text_identity(documents):
    """Returns the SHA-256 (hex) of `documents`, their order and their bounds.

    Printed wherever a figure rests on a text, because `pydoc` differs
    between Python versions and files change.
    """
    digest = hashlib.sha256()
    for document in documents:
        data = document.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()
