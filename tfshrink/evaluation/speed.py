"""Tokens per second: medians of repeated runs, warm-up excluded."""

import time

import numpy as np

REPEATS = 5


def timed(function, *, repeats=REPEATS, warmup=1, clock=time.perf_counter):
    """Seconds of each call of `function()`.

    Args:
        function: Returns only when its work is done.
        repeats: Calls that are measured.
        warmup: Calls before them that are not (compiling, first touches).
        clock: Function that returns seconds.
    """
    for _ in range(warmup):
        function()
    seconds = []
    for _ in range(repeats):
        start = clock()
        function()
        seconds.append(clock() - start)
    return seconds


def rates(seconds, tokens):
    """Tokens per second of several measurements of the same work.

    Args:
        seconds: One number a measurement.
        tokens: Tokens in each of them.

    Returns:
        As `spread`.
    """
    return spread(tokens / np.asarray(seconds, "float64"))


def spread(values):
    """Several measurements of one thing, in a few numbers.

    Args:
        values: At least one number.

    Returns:
        A dict of the `median`, the quartiles `q25` and `q75`, `lowest` and
        `highest`.
    """
    values = np.asarray(values, "float64")
    q25, median, q75 = np.percentile(values, [25, 50, 75])
    return {
        "median": float(median),
        "q25": float(q25),
        "q75": float(q75),
        "lowest": float(values.min()),
        "highest": float(values.max()),
    }


def evaluation_speed(meter, bits, *, batch_size, context, repeats=REPEATS):
    """Tokens/s of scoring a batch of windows (prefill and head).

    Args:
        meter: `QualityMeter`.
        bits: Bit-width of each layer group, or `None`.
        batch_size: Windows in the batch.
        context: Tokens in a window.
        repeats: Batches measured.

    Returns:
        As `rates`.
    """
    vocabulary = meter.model.config.vocabulary
    shape = (batch_size, context)
    tokens = np.random.default_rng(0).integers(0, vocabulary, shape, "int32")
    score = meter.scorer(bits)

    def run():
        np.asarray(score(tokens)[0])

    return rates(timed(run, repeats=repeats), batch_size * context)


def decoding_speed(generate, prompts, *, new_tokens=32, repeats=REPEATS):
    """Tokens/s of decoding, the prefill taken off where that is possible.

    Args:
        generate: Function of prompts and the number of new tokens, which
            never stops early.
        prompts: List of token lists.
        new_tokens: Tokens to decode after the first.
        repeats: Runs measured.

    Returns:
        As `rates`.
    """
    first = timed(lambda: generate(prompts, 1), repeats=repeats)
    longer = timed(lambda: generate(prompts, 1 + new_tokens), repeats=repeats)
    # The prefill is in both: what the first token took goes off each, but
    # where noise is larger than all decoding: that stays a lower bound.
    longer = np.asarray(longer)
    decode = longer - np.median(first)
    seconds = np.where(decode > 0, decode, longer)
    return rates(seconds, len(prompts) * new_tokens)
