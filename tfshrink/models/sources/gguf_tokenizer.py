"""A tokenizer from the metadata of a GGUF file."""

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.models.sources.byte_level import add_start_token
from tfshrink.models.sources.byte_level import ADDS_START
from tfshrink.models.sources.byte_level import byte_level_tokenizer
from tfshrink.models.sources.byte_level import fast_tokenizer
from tfshrink.models.sources.sentence_pieces import sentence_piece_tokenizer

# Values of `tokenizer.ggml.token_type`.
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
_ROLES = {
    "bos_token": "bos",
    "eos_token": "eos",
    "unk_token": "unknown",
    "pad_token": "padding",
}


def tokenizer_from_gguf(metadata, config, path):
    """Builds the tokenizer that `tokenizer.ggml.*` describe.

    Args:
        metadata: Dict of the file's metadata.
        config: The `DecoderConfig`, whose vocabulary it must fit.
        path: The file, for errors.

    Returns:
        A `transformers.PreTrainedTokenizerFast`.

    Raises:
        UserError: A kind of tokenizer that is not supported, or lists that
            do not fit together.
    """
    models = {"gpt2": _byte_level, "llama": _sentence_pieces}
    try:
        tokens = _list(metadata, "tokens", config.vocabulary)
        kind = metadata.get("tokenizer.ggml.model")
        if kind not in models:
            raise unknown_choice("tokenizer.ggml.model", kind, models)
        tokenizer = models[kind](metadata, tokens)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    _add_special_tokens(tokenizer, tokens, metadata)
    special = {
        role: _token(metadata, tokens, key) for role, key in _ROLES.items()
    }
    if special["bos_token"] and _starts_texts(metadata, kind):
        add_start_token(tokenizer, special["bos_token"])
    return fast_tokenizer(
        tokenizer,
        context=config.context,
        chat_template=metadata.get("tokenizer.chat_template"),
        **special,
    )


def _byte_level(metadata, tokens):
    merges = [
        merge.split(" ") for merge in _list(metadata, "merges", default=[])
    ]
    if any(len(pair) != 2 for pair in merges):
        raise UserError("`tokenizer.ggml.merges` must hold pairs of tokens")
    split = metadata.get("tokenizer.ggml.pre", "default")
    return byte_level_tokenizer(tokens, merges, split=split)


def _sentence_pieces(metadata, tokens):
    return sentence_piece_tokenizer(
        tokens,
        _list(metadata, "scores", len(tokens)),
        unknown=_token(metadata, tokens, "unknown") or "<unk>",
        prefix=metadata.get("tokenizer.ggml.add_space_prefix", True),
    )


def _list(metadata, key, count=None, default=None):
    values = metadata.get(f"tokenizer.ggml.{key}", default)
    if not isinstance(values, list):
        raise UserError(f"expected a list `tokenizer.ggml.{key}`")
    if count is not None and len(values) != count:
        raise UserError(
            f"`tokenizer.ggml.{key}` must have {count} entries. "
            f"Received: {len(values)}"
        )
    return values


def _token(metadata, tokens, key):
    index = metadata.get(f"tokenizer.ggml.{key}_token_id")
    return tokens[index] if index in range(len(tokens)) else None


def _starts_texts(metadata, kind):
    by_default = kind == "llama" or (
        metadata.get("tokenizer.ggml.pre") in ADDS_START
    )
    return metadata.get("tokenizer.ggml.add_bos_token", by_default)


def _add_special_tokens(tokenizer, tokens, metadata):
    from tokenizers import AddedToken

    kinds = metadata.get("tokenizer.ggml.token_type", [])
    for token, kind in zip(tokens, kinds, strict=False):
        if kind in (_UNKNOWN, _CONTROL):
            tokenizer.add_special_tokens([AddedToken(token, special=True)])
        elif kind == _USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, normalized=False)])
