"""Byte-level BPE tokenizers, built from a vocabulary and merges."""

import os

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError

# How text is cut into words before merging. The names are those of GGUF's
# `tokenizer.ggml.pre`; the patterns are part of each model's definition.
_GPT2_WORDS = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+"
    r"| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)
_LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITS = {
    "default": (
        r"[\p{P}\$\+<=>\^~\|]+",
        _GPT2_WORDS,
        r"\p{N}+",
        r"[0-9][0-9][0-9]",
    ),
    "gpt2": (_GPT2_WORDS,),
    "gpt-2": (_GPT2_WORDS,),
    "llama-bpe": (_LLAMA3_WORDS,),
    "llama3": (_LLAMA3_WORDS,),
    "smollm": (r"\p{N}", _GPT2_WORDS),
    "starcoder": (r"\p{N}", _GPT2_WORDS),
}
ADDS_START = ("llama-bpe", "llama3")


def byte_level_tokenizer(tokens, merges, *, split="gpt2"):
    """Builds a byte-level BPE tokenizer.

    Args:
        tokens: The vocabulary, in the order of its ids, with bytes written
            as the printable characters of GPT-2.
        merges: Pairs of tokens, most frequent first.
        split: How words are cut: `"gpt2"`, `"smollm"` (digits one by one),
            `"llama-bpe"`, `"default"` and their synonyms.

    Returns:
        A `tokenizers.Tokenizer`.

    Raises:
        UserError: An unknown `split`, or merges of unknown tokens.
    """
    import tokenizers
    from tokenizers import decoders
    from tokenizers import models
    from tokenizers import pre_tokenizers

    if split not in _SPLITS:
        raise unknown_choice("tokenizer.ggml.pre", split, _SPLITS)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    try:
        model = models.BPE(
            vocab=vocabulary,
            merges=[tuple(pair) for pair in merges],
            ignore_merges=split in ADDS_START,
        )
    except Exception as error:  # tokenizers raises bare Exception
        raise UserError(
            f"the tokenizer's merges must be pairs of its tokens: {error}"
        ) from error
    tokenizer = tokenizers.Tokenizer(model)
    cuts = [
        pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
        for pattern in _SPLITS[split]
    ]
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts, letters])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def byte_letters():
    """Returns the 256 printable characters that stand for the bytes.

    Printable Latin-1 stands for itself; the other bytes, in order, take the
    characters from U+0100 on.
    """
    itself = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = (byte for byte in range(256) if byte not in itself)
    letters = {byte: chr(byte) for byte in itself}
    letters |= {byte: chr(256 + rank) for rank, byte in enumerate(moved)}
    return [letters[byte] for byte in range(256)]


def add_start_token(tokenizer, token):
    """Makes `tokenizer` put the start token `token` before every text."""
    from tokenizers.processors import TemplateProcessing

    tokenizer.post_processor = TemplateProcessing(
        single=f"{token} $A",
        pair=f"{token} $A {token} $B",
        special_tokens=[(token, tokenizer.token_to_id(token))],
    )


def fast_tokenizer(tokenizer, *, context, chat_template=None, **special):
    """Wraps a `tokenizers.Tokenizer` for `transformers`.

    Args:
        tokenizer: The `tokenizers.Tokenizer`.
        context: Longest sequence, in tokens.
        chat_template: Jinja template of a conversation, or `None`.
        **special: `bos_token`, `eos_token`, `pad_token`, `unk_token`; those
            that are `None` are left out. Padding falls back to `eos_token`.

    Returns:
        A `transformers.PreTrainedTokenizerFast`.
    """
    special = {role: token for role, token in special.items() if token}
    if "eos_token" in special:
        special.setdefault("pad_token", special["eos_token"])
    result = pretrained_tokenizer_class()(
        tokenizer_object=tokenizer,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
        **special,
    )
    result.chat_template = chat_template
    return result


def pretrained_tokenizer_class():
    """Imports `transformers.PreTrainedTokenizerFast`, without its advice.

    On import it warns that PyTorch is absent, which is as it should be.
    """
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast
