"""Robustness of every trace of a file by stlcgpp; prints one line of JSON.

The formula is that of benchmarks/stl.py, built of stlcgpp's own classes; traces
are judged one by one or mapped over by `torch.vmap`: the faster of the two
counts.
"""

import json
import sys
import time

import numpy as np
import torch
from stlcgpp import formula as stl


def main():
    """Judges the traces of the file both ways."""
    path, _ = sys.argv[1:]
    signals = {
        name: torch.from_numpy(array) for name, array in np.load(path).items()
    }
    pair = torch.stack([signals["a"], signals["b"]], -1)  # (traces, T, 2)
    a = stl.Predicate("a", lambda x: x[..., 0])
    b = stl.Predicate("b", lambda x: x[..., 1])
    first = stl.Always(
        stl.And(stl.Eventually(a > 0.5, interval=[0, 8]), b < 0.5),
        interval=[0, 31],
    )
    second = stl.Eventually(
        stl.Always(b > -0.5, interval=[0, 15]), interval=[4, 64]
    )
    whole = stl.And(first, second)
    best, values = None, None
    with torch.inference_mode():
        for run in (one_by_one, mapped):
            start = time.perf_counter()
            try:
                found = run(whole, pair)
            except RuntimeError as error:
                print(f"{run.__name__}: {error}", file=sys.stderr)
                continue
            ms = 1e3 * (time.perf_counter() - start)
            if best is None or ms < best:
                best, values = ms, found
    print(json.dumps({"ms": best, "values": values[:, 0].tolist()}))


def one_by_one(formula, pair):
    """Values of each trace `(traces, T)`, trace by trace."""
    return torch.stack([formula(trace) for trace in pair])


def mapped(formula, pair):
    """The same, four traces at a time: each has masks of T x T."""
    parts = [torch.vmap(formula)(part) for part in pair.split(4)]
    return torch.cat(parts)


if __name__ == "__main__":
    main()
