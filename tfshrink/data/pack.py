"""From token lists to rows of one length."""

import numpy as np

from tfshrink.data.examples import Examples
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError


def tokenize(documents, tokenizer):
    """Returns one int32 array of token ids per document.

    Args:
        documents: List of strings.
        tokenizer: Anything with `encode(text, add_special_tokens=False)`, as
            the tokenizers of `transformers` and `tokenizers` have.

    Returns:
        List of int32 arrays.
    """
    lists = []
    for document in documents:
        encoded = tokenizer.encode(document, add_special_tokens=False)
        lists.append(np.asarray(getattr(encoded, "ids", encoded), np.int32))
    return lists


def pack(
    token_lists, context, *, separator, mode="packed", prompt_lengths=None
):
    """Returns rows of `context` tokens.

    Args:
        token_lists: Sequences of token ids, one per document.
        context: Length of a row, in tokens.
        separator: Token id that ends a document, and pads.
        mode: `"packed"`: documents follow each other through the rows, what
            does not fill the last row is left out. `"padded"`: one document a
            row; a longer one is cut, its prompt from the left first, so that
            what follows the prompt stays.
        prompt_lengths: How many leading tokens of each document are prompt,
            which never counts as a target. Default: none.

    Returns:
        `Examples`.

    Raises:
        UserError: The text is empty or shorter than the context.
    """
    if mode not in MODES:
        raise unknown_choice("mode", mode, MODES)
    if context < 2:
        raise UserError(
            f"`context` must be at least 2 tokens. Received: {context}"
        )
    if prompt_lengths is None:
        prompt_lengths = [0] * len(token_lists)
    if len(prompt_lengths) != len(token_lists):
        raise ValueError(
            "`prompt_lengths` must have one entry per document "
            f"({len(token_lists)}). Received: {len(prompt_lengths)}"
        )
    tokens, mask = MODES[mode](token_lists, context, separator, prompt_lengths)
    mask[:, 0] = 0
    return Examples(tokens, mask)


def windows(token_stream, context, stride):
    """Returns overlapping windows for strided perplexity.

    Each window starts `stride` tokens after the one before (the last where
    the text ends), and only the tokens that no earlier window counted count:
    every token but the very first counts exactly once, with at least
    `context - stride` tokens before it outside the first window.

    Args:
        token_stream: Token ids, (n,).
        context: Length of a window, in tokens.
        stride: Tokens between two windows, 1 to `context - 1`.

    Returns:
        `Examples`.

    Raises:
        UserError: The stream is shorter than the context, or `stride` is out
            of range.
    """
    stream = np.asarray(token_stream, np.int32)
    if not 1 <= stride < context:
        raise UserError(
            f"`stride` must be between 1 and {context - 1} (the context less "
            f"one: a window's first token has nothing before it). "
            f"Received: {stride}"
        )
    _check_length(len(stream), context)
    last = len(stream) - context
    starts = np.minimum(np.arange(0, last + stride, stride), last)
    places = starts[:, None] + np.arange(context)  # (N, T)
    seen = np.concatenate([[1], starts[:-1] + context])  # the first of all
    mask = (places >= seen[:, None]).astype(np.float32)
    return Examples(stream[places], mask)


def _pack(token_lists, context, separator, prompt_lengths):
    stream, counts = [], []
    for tokens, prompt in zip(token_lists, prompt_lengths, strict=True):
        stream.append(np.append(np.asarray(tokens, np.int32), separator))
        counts.append(np.arange(len(tokens) + 1) >= prompt)
    length = sum(map(len, stream))
    _check_length(length, context)
    rows = length // context
    tokens, mask = (
        np.concatenate(parts)[: rows * context].reshape(rows, context)
        for parts in (stream, counts)
    )
    return tokens.astype(np.int32), mask.astype(np.float32)


def _pad(token_lists, context, separator, prompt_lengths):
    tokens = np.full((len(token_lists), context), separator, np.int32)
    mask = np.zeros(tokens.shape, np.float32)
    for row, document in enumerate(token_lists):
        ended = np.append(np.asarray(document, np.int32), separator)
        prompt = min(prompt_lengths[row], len(document))
        cut = min(max(len(ended) - context, 0), prompt)
        ended = ended[cut : cut + context]
        tokens[row, : len(ended)] = ended
        mask[row, prompt - cut : len(ended)] = 1
    kept = mask[:, 1:].any(axis=1)
    if not kept.any():
        raise UserError("The text is empty: no token of it can be predicted.")
    return tokens[kept], mask[kept]


def _check_length(length, context):
    if length < context:
        raise UserError(
            f"The text has {length} tokens, `context` needs at least "
            f"{context}: give more text or a smaller context."
        )


MODES = {"packed": _pack, "padded": _pad}
