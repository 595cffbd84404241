"""Robustness of every trace of a file by rtamt; prints one line of JSON.

rtamt reads one trace at a time, in Python; the file is read before the clock
runs.
"""

import json
import sys
import time

import numpy as np
import rtamt


def main():
    """Judges the traces of the file one after the other."""
    path, formula = sys.argv[1:]
    signals = {name: array.tolist() for name, array in np.load(path).items()}
    count = len(next(iter(signals.values())))
    samples = list(range(len(next(iter(signals.values()))[0])))
    specification = rtamt.StlDiscreteTimeSpecification()
    for name in signals:
        specification.declare_var(name, "float")
    specification.spec = formula
    specification.parse()
    values = []
    start = time.perf_counter()
    for index in range(count):
        own = {name: rows[index] for name, rows in signals.items()}
        trace = specification.evaluate({"time": samples, **own})
        values.append(trace[0][1])
    ms = 1e3 * (time.perf_counter() - start)
    print(json.dumps({"ms": ms, "values": values}))


if __name__ == "__main__":
    main()
