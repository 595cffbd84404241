"""Tokens to text while they come, in pieces that never break a character."""

_BROKEN = "\ufffd"  # what a decoder writes for an incomplete character
_PATIENCE = 8  # tokens: longer than any character, so the text is broken


def text_pieces(tokens, tokenizer):
    """Yields text that together is the decoded tokens.

    A byte-level token may hold a part of a character: its text is held back
    until the character is whole.

    Args:
        tokens: Iterable of token ids.
        tokenizer: A `transformers` tokenizer.
    """
    window = []  # tokens that give the context, then those not yet written
    written = 0  # of the window
    for token in tokens:
        window.append(token)
        piece = _new_text(window, written, tokenizer)
        whole = not piece.endswith(_BROKEN)
        if piece and (whole or len(window) - written >= _PATIENCE):
            yield piece
            window, written = window[written:], len(window) - written
    rest = _new_text(window, written, tokenizer)
    if rest:
        yield rest


def _new_text(window, written, tokenizer):
    """Text of the window behind that of its first `written` tokens.

    Decoding them together keeps the spaces between words, which some
    tokenizers leave out at the start of a text.
    """
    before = _decode(window[:written], tokenizer)
    return _decode(window, tokenizer)[len(before) :]


def _decode(tokens, tokenizer):
    return tokenizer.decode(
        tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )


def until(pieces, stop_strings):
    """Passes pieces of text on, up to the first of the stop strings.

    What may be the beginning of a stop string waits for the next piece.

    Args:
        pieces: Iterable of texts.
        stop_strings: Texts; the first that occurs ends the iteration.
    """
    stop_strings = [stop for stop in stop_strings if stop]
    held = ""
    for piece in pieces:
        held += piece
        places = [held.find(stop) for stop in stop_strings]
        places = [place for place in places if place >= 0]
        if places:
            if min(places):
                yield held[: min(places)]
            return
        safe = len(held) - _overlap(held, stop_strings)
        if safe:
            yield held[:safe]
        held = held[safe:]
    if held:
        yield held


def _overlap(text, stop_strings):
    """Length of the longest end of `text` that begins a stop string."""
    longest = max((len(stop) for stop in stop_strings), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-length:]) for stop in stop_strings):
            return length
    return 0
