"""Tokenizers of the SentencePiece BPE kind (Llama 1 and 2)."""


def sentence_piece_tokenizer(tokens, scores, *, unknown="<unk>", prefix=True):
    """Builds a BPE tokenizer from pieces and their scores.

    SentencePiece merges the pair whose result has the highest score, so the
    merges are every way to cut a piece in two pieces, by falling score.
    Characters without a piece become their UTF-8 bytes, `<0x0A>`.

    Args:
        tokens: The pieces, in the order of their ids, spaces as U+2581.
        scores: One number a piece.
        unknown: The piece for what cannot be written.
        prefix: Whether a space is put before the text.

    Returns:
        A `tokenizers.Tokenizer`.
    """
    import tokenizers
    from tokenizers import decoders
    from tokenizers import models
    from tokenizers import normalizers

    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=_merges(tokens, scores, vocabulary),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    space = "\u2581"
    steps = [normalizers.Prepend(space)] if prefix else []
    tokenizer.normalizer = normalizers.Sequence(
        [*steps, normalizers.Replace(" ", space)]
    )
    steps = [decoders.Strip(" ", 1, 0)] if prefix else []
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(space, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            *steps,
        ]
    )
    return tokenizer


def _merges(tokens, scores, vocabulary):
    merges = []
    for token, score in zip(tokens, scores, strict=True):
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in vocabulary and right in vocabulary:
                order = (-score, vocabulary[left], vocabulary[right])
                merges.append((order, left, right))
    return [(left, right) for _, left, right in sorted(merges)]
