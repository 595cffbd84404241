"""Subwords that two languages share: a byte-level BPE of the text at hand."""

from tfshrink.errors import UserError
from tfshrink.files import atomic_write

PAD, START, END = "<pad>", "<s>", "</s>"
SPECIAL = (PAD, START, END)  # ids 0, 1 and 2
SMALLEST = 256 + len(SPECIAL)  # every byte has a token: nothing is unknown


def train_subwords(texts, *, vocabulary_size=8000, min_frequency=2):
    """Learns a vocabulary from texts of both languages together.

    Text is composed (NFC) and cut at spaces, punctuation and every digit,
    and what remains is merged pair by pair, the most frequent first. Bytes
    are the smallest pieces, so that decoding gives back any NFC text. The
    order of the texts does not matter.

    Args:
        texts: Strings of both languages.
        vocabulary_size: Tokens at most, `<pad>`, `<s>` and `</s>` included.
        min_frequency: How often a pair must occur to be merged.

    Returns:
        A `tokenizers.Tokenizer`. It adds no tokens of its own, and a `<s>`
        in a text is plain text.

    Raises:
        UserError: The vocabulary has no room for all bytes.

    Reference: Sennrich et al. (2016), "Neural Machine Translation of Rare
        Words with Subword Units", section 3.2.
    """
    import tokenizers
    from tokenizers import decoders
    from tokenizers import models
    from tokenizers import normalizers
    from tokenizers import pre_tokenizers
    from tokenizers import trainers

    if vocabulary_size < SMALLEST:
        raise UserError(
            f"`vocabulary_size` must be at least {SMALLEST}. "
            f"Received: {vocabulary_size}"
        )
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _plain(tokenizer)


def save_subwords(tokenizer, path):
    """Writes a tokenizer as one `tokenizer.json`, in the hub's format.

    Args:
        tokenizer: What `train_subwords` returns.
        path: The file, written whole or not at all; its folder is made.
    """
    with atomic_write(path) as file:
        file.write(tokenizer.to_str(pretty=True))


def load_subwords(path):
    """Reads what `save_subwords` wrote.

    Args:
        path: A `tokenizer.json`.

    Returns:
        A `tokenizers.Tokenizer`, as `train_subwords` returns it.

    Raises:
        UserError: The file is missing, damaged, or lacks `<pad>`, `<s>` or
            `</s>`.
    """
    import tokenizers

    try:
        with open(path, encoding="utf-8") as file:
            tokenizer = tokenizers.Tokenizer.from_str(file.read())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.") from error
    except Exception as error:  # tokenizers raises bare Exception
        raise UserError(f"{path} must be a tokenizer.json: {error}.") from error
    missing = [one for one in SPECIAL if tokenizer.token_to_id(one) is None]
    if missing:
        raise UserError(
            f"{path} must have the tokens {', '.join(SPECIAL)}. "
            f"Missing: {', '.join(missing)}"
        )
    return _plain(tokenizer)


def special_ids(tokenizer):
    """Returns the ids of `<pad>`, `<s>` and `</s>`."""
    return tuple(tokenizer.token_to_id(token) for token in SPECIAL)


def as_transformers(tokenizer, *, context):
    """Wraps a tokenizer for code that wants the one of `transformers`.

    Args:
        tokenizer: A `tokenizers.Tokenizer` of this file.
        context: Longest sequence, in tokens.

    Returns:
        A `transformers.PreTrainedTokenizerFast`.
    """
    from tfshrink.models.sources.byte_level import fast_tokenizer

    wrapped = fast_tokenizer(
        tokenizer,
        context=context,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
    )
    wrapped.split_special_tokens = True
    return wrapped


def _plain(tokenizer):
    """A `<s>` that stands in a text is text, not a special token."""
    tokenizer.encode_special_tokens = True
    return tokenizer
