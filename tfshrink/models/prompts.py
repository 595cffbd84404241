"""What a user gives to generation, checked and put into arrays."""

import numpy as np

from tfshrink.errors import UserError

_STOPS = 8  # stop tokens are padded to a multiple, so that none retraces
_ALWAYS = 2**30  # steps: greedy to the end


def check_prompts(prompts, config, max_new_tokens):
    """Raises a `UserError` unless the model can continue the prompts."""
    if not prompts:
        raise UserError("`prompts` must hold at least one prompt. Received: 0")
    if max_new_tokens < 1:
        raise UserError(
            f"`max_new_tokens` must be at least 1. Received: {max_new_tokens}"
        )
    for index, prompt in enumerate(prompts):
        if not len(prompt):
            raise UserError(
                f"`prompts[{index}]` must hold at least one token. Received: 0"
            )
        if min(prompt) < 0 or max(prompt) >= config.vocabulary:
            wrong = min(prompt) if min(prompt) < 0 else max(prompt)
            raise UserError(
                f"`prompts[{index}]` must hold tokens from 0 to "
                f"{config.vocabulary - 1}. Received: {wrong}"
            )
        if len(prompt) + max_new_tokens > config.context:
            raise UserError(
                f"`prompts[{index}]` of {len(prompt)} tokens and "
                f"`max_new_tokens` of {max_new_tokens} must fit into the "
                f"context of {config.context} tokens. Received: "
                f"{len(prompt) + max_new_tokens}"
            )


def sampling_settings(
    config,
    *,
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    repetition_penalty=1.0,
    greedy_prefix=0,
    seed=0,
    stop_tokens=None,
):
    """Checks how to choose tokens.

    Args:
        config: `DecoderConfig`.
        temperature: Divides the logits; 0 always takes the likeliest token.
        top_k: Keep only the `top_k` likeliest tokens; 0 keeps all.
        top_p: Keep only the likeliest tokens that together have this
            probability.
        repetition_penalty: Divides positive and multiplies negative logits
            of tokens that occurred, in the prompt too.
        greedy_prefix: First new tokens that are the likeliest ones
            (LLM-QAT takes 3 to 5).
        seed: Integer in [0, 2^64).
        stop_tokens: Tokens that end a sequence. Default: those of the model.

    Returns:
        Dict of NumPy arrays, the `settings` of `decode`.

    Raises:
        UserError: a value out of its range.
    """
    for name, value, valid, expected in (
        ("temperature", temperature, temperature >= 0, "at least 0"),
        ("top_k", top_k, top_k >= 0, "at least 0 (0 is off)"),
        ("top_p", top_p, 0 < top_p <= 1, "above 0 and at most 1"),
        (
            "repetition_penalty",
            repetition_penalty,
            repetition_penalty > 0,
            "above 0",
        ),
        ("greedy_prefix", greedy_prefix, greedy_prefix >= 0, "at least 0"),
        ("seed", seed, 0 <= seed < 2**64, "at least 0 and below 2^64"),
    ):
        if not valid:
            raise UserError(f"`{name}` must be {expected}. Received: {value}")
    stops = list(config.eos if stop_tokens is None else stop_tokens)
    stops += [-1] * (-len(stops) % _STOPS or (0 if stops else _STOPS))
    return {
        "temperature": np.array(temperature or 1.0, "float32"),
        "top_k": np.array(min(top_k, config.vocabulary), "int32"),
        "top_p": np.array(top_p, "float32"),
        "repetition_penalty": np.array(repetition_penalty, "float32"),
        "greedy_steps": np.array(
            greedy_prefix if temperature else _ALWAYS, "int32"
        ),
        "key": np.array([seed % 2**32, seed >> 32], "uint32"),
        "stop_tokens": np.array(stops, "int32"),
    }


def left_pad(prompts, width):
    """Puts token lists side by side so that they end in the same column.

    Args:
        prompts: Token lists, none longer than `width`.
        width: Columns.

    Returns:
        `(tokens, pad)`: int32 `(B, width)` and the padding `(B,)` of each.
    """
    tokens = np.zeros((len(prompts), width), "int32")
    pad = np.array([width - len(prompt) for prompt in prompts], "int32")
    for row, prompt, start in zip(tokens, prompts, pad, strict=True):
        row[start:] = prompt
    return tokens, pad


def seen_mask(prompts, vocabulary):
    """Boolean `(B, V)`: the tokens that each prompt holds."""
    seen = np.zeros((len(prompts), vocabulary), "bool")
    for row, prompt in zip(seen, prompts, strict=True):
        row[np.asarray(prompt, "int64")] = True
    return seen


def prompt_bucket(length):
    """Columns for a prompt: 0, or the next power of two from 16 on."""
    return 0 if length == 0 else max(16, 1 << (length - 1).bit_length())
