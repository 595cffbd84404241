"""Writes stl_robustness.npz: what rtamt says of random formulas and traces.

    python3 -m venv rtamt-venv && rtamt-venv/bin/pip install rtamt==0.4.10 numpy
    rtamt-venv/bin/python -m tests.golden.make_stl_robustness

rtamt reads the text of a formula; tfshrink is to read the same text. Signals
are multiples of 1/64, so that nothing is rounded.
"""

import pathlib

import numpy as np
import rtamt

from tests.stl.random_formulas import NAMES
from tests.stl.random_formulas import random_formula
from tests.stl.random_formulas import random_signals

FILE = pathlib.Path(__file__).with_name("stl_robustness.npz")
COUNT, SAMPLES, DEPTH = 1000, 24, 4


def main():
    random = np.random.default_rng(0)
    texts, inputs, outputs = [], [], []
    while len(texts) < COUNT:
        formula = random_formula(random, DEPTH)
        if not formula.children:
            continue
        signals = random_signals(random, 1, SAMPLES)
        texts.append(str(formula))
        inputs.append(np.stack([signals[name][0] for name in NAMES]))
        outputs.append(judged(str(formula), signals))
    np.savez_compressed(
        FILE,
        texts=np.array(texts),
        signals=np.array(inputs, "float32"),
        robustness=np.array(outputs, "float32"),
    )
    print(f"{FILE}: {COUNT} formulas, {SAMPLES} samples each")


def judged(text, signals):
    """Robustness at every sample, by rtamt."""
    specification = rtamt.StlDiscreteTimeSpecification()
    for name in NAMES:
        specification.declare_var(name, "float")
    specification.spec = text
    specification.parse()
    data = {"time": list(range(SAMPLES))}
    data.update({name: signals[name][0].tolist() for name in NAMES})
    return [value for _, value in specification.evaluate(data)]


if __name__ == "__main__":
    main()
