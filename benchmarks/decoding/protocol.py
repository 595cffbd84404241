"""How every side of benchmarks/decode.py is measured; needs numpy alone.

A side is an object with `prefill(tokens)` and `step(token)`, which append to
one sequence and return the last token's logits `(V,)`, `score(tokens)`, which
returns those of all appended tokens `(T, V)`, and `reset()`.

Axes: T tokens, V vocabulary.
"""

import argparse
import json
import resource
import statistics
import sys
import time

import numpy as np


def parser(description, model):
    """Returns an argument parser with the flags that every side has.

    Args:
        description: What `--help` says.
        model: What `--model` is.
    """
    flags = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = flags.add_argument
    add("--model", required=True, help=model)
    add("--work", help="The .npz file of benchmarks/decode.py.")
    add("--contexts", default="64,512,2048", help="Prompt lengths, in tokens.")
    add("--new_tokens", type=int, default=64, help="Decoded behind each.")
    add("--repeats", type=int, default=3, help="Measurements of a speed.")
    add("--threads", type=int, default=2, help="CPU threads.")
    return flags


def run(flags, load):
    """Measures a side and prints one line of JSON.

    Args:
        flags: Parsed flags of `parser`.
        load: Function of `flags` and the longest sequence, in tokens, to the
            side.
    """
    contexts = [int(text) for text in flags.contexts.split(",") if text]
    with np.load(flags.work) as work:
        text, rows, masks = work["text"], work["rows"], work["masks"]
    longest = max([*contexts, rows.shape[1]]) + flags.new_tokens
    start = time.perf_counter()
    side = load(flags, longest)
    line = {"load_seconds": time.perf_counter() - start}
    line["speeds"] = {
        str(context): speeds(side, text, context, flags) for context in contexts
    }
    line["peak_rss_mb"] = peak_memory()
    if len(rows):
        line["perplexity"] = perplexity(side, rows, masks)
    print(json.dumps(line), flush=True)


def speeds(side, text, context, flags):
    """Tokens/s of reading a prompt and of decoding greedily behind it.

    A prompt of another length goes first each time, as when prompts differ:
    what a side prepares for a new length is counted.

    Args:
        side: See above.
        text: Tokens of real text, more than `context` of them.
        context: Tokens of the prompt.
        flags: Of `parser`.

    Returns:
        Dict of `prefill` and `decode`, each of `median`, `spread` (largest
        less smallest) and all `values`.
    """
    found = {"prefill": [], "decode": []}
    for measured in [False] + [True] * flags.repeats:
        side.reset()
        side.prefill(text[: context // 2 + 1])
        side.reset()
        start = time.perf_counter()
        token = int(np.argmax(side.prefill(text[:context])))
        read = time.perf_counter()
        for _ in range(flags.new_tokens):
            token = int(np.argmax(side.step(token)))
        end = time.perf_counter()
        if measured:
            found["prefill"].append(context / (read - start))
            found["decode"].append(flags.new_tokens / (end - read))
    return {
        name: {
            "median": statistics.median(values),
            "spread": max(values) - min(values),
            "values": values,
        }
        for name, values in found.items()
    }


def perplexity(side, rows, masks):
    """Perplexity of windows of text, each read from nothing.

    Args:
        side: See above.
        rows: Tokens `(N, T)`.
        masks: `(N, T)`; not 0 where a token is predicted and counts.
    """
    nats = count = 0.0
    for tokens, mask in zip(rows, masks, strict=True):
        side.reset()
        logits = side.score(tokens)[:-1]
        peak = logits.max(axis=1)
        total = np.exp(logits - peak[:, None]).sum(axis=1, dtype="float64")
        own = logits[np.arange(len(logits)), tokens[1:]]
        nats += float(((np.log(total) + peak - own) * mask[1:]).sum())
        count += float(mask[1:].sum())
    return float(np.exp(nats / count))


def peak_memory():
    """Largest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6
