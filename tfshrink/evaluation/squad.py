"""SQuAD v1.1 by greedy generation: exact match and F1."""

import numpy as np

from tfshrink.data.pack import tokenize
from tfshrink.data.squad import qa_prompt

NEW_TOKENS = 32  # SQuAD's answers have three words on average


def squad_prompts(questions, tokenizer, room):
    """Token lists of `context + question`, as the model was trained on.

    Args:
        questions: List of `SquadExample`.
        tokenizer: As for `tokenize`.
        room: Tokens a prompt may have; a longer one is cut from the left,
            so that the question stays.
    """
    return [
        tokens[-room:].tolist()
        for tokens in tokenize(map(qa_prompt, questions), tokenizer)
    ]


def first_line(text):
    """The answer in a continuation: its first line, trimmed."""
    lines = text.strip().splitlines()
    return lines[0].strip() if lines else ""


def batches_by_length(prompts, batch_size):
    """Yields index lists of full batches, the longest prompts first.

    Prompts of like length are padded least. The last batch repeats its
    last row until it is full, so that one compiled function serves all.
    """
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield rows + [rows[-1]] * (batch_size - len(rows))


def answer(prompts, generate, decode, *, batch_size, on_batch=None):
    """Answers every prompt.

    Args:
        prompts: List of token lists.
        generate: Function of a list of prompts to lists of new tokens.
        decode: Function of a token list to text.
        batch_size: Prompts at once.
        on_batch: Called after each batch with its number of questions.

    Returns:
        One string a prompt, in their order.
    """
    answers = [""] * len(prompts)
    for rows in batches_by_length(prompts, batch_size):
        outputs = generate([prompts[row] for row in rows])
        for row, tokens in zip(rows, outputs, strict=True):
            answers[row] = first_line(decode(np.asarray(tokens).tolist()))
        if on_batch is not None:
            on_batch(len(set(rows)))
    return answers
