"""Seconds that each generated token takes, as percentiles."""

import time

import numpy as np

from tfshrink.evaluation.speed import REPEATS
from tfshrink.evaluation.speed import spread

PERCENTILES = (50, 95, 99)


def token_latency(stream, *, repeats=REPEATS, warmup=1, clock=None):
    """Times the tokens of several texts, one by one.

    Args:
        stream: Function that returns an iterator which makes a token when it
            is asked for the next one.
        repeats: Texts that are timed.
        warmup: Texts before them that are not.
        clock: Function that returns seconds.

    Returns:
        As `summary`.
    """
    clock = clock or time.perf_counter
    runs = []
    for _ in range(warmup + repeats):
        times = [clock()]
        for _ in stream():
            times.append(clock())
        runs.append(np.diff(times))
    return summary(runs[warmup:])


def summary(runs):
    """What the times of several texts come to.

    Args:
        runs: For each text the seconds of its tokens; the first of them has
            the prompt in it.

    Returns:
        A dict of `p50`, `p95` and `p99`, seconds a token over all texts but
        their first tokens; `samples`, their number; `of_texts`, by percentile
        the `spread` over the texts; `first_token`, the `spread` of the seconds
        to the first token; `tokens_per_second`, behind the first token, the
        same.
    """
    later = [np.asarray(run[1:], "float64") for run in runs]
    everything = np.concatenate(later)
    names = [f"p{level}" for level in PERCENTILES]
    values = np.percentile(everything, PERCENTILES)
    own = np.array([np.percentile(run, PERCENTILES) for run in later])
    return {
        **dict(zip(names, map(float, values), strict=True)),
        "samples": len(everything),
        "of_texts": {
            name: spread(column)
            for name, column in zip(names, own.T, strict=True)
        },
        "first_token": spread([run[0] for run in runs]),
        "tokens_per_second": spread([len(run) / run.sum() for run in later]),
    }
