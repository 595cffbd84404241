"""A formula as a requirement on a compressed model, property by property."""

import dataclasses
import pathlib
import runpy

import numpy as np

from tfshrink.errors import UserError
from tfshrink.stl import formula as stl
from tfshrink.stl.explain import explain
from tfshrink.stl.parse import parse
from tfshrink.stl.properties import properties
from tfshrink.stl.robustness import Robustness
from tfshrink.stl.signals import check_window
from tfshrink.stl.signals import SIGNALS
from tfshrink.stl.signals import split_name
from tfshrink.stl.signals import traces

# As configs/stl_default.py has it.
DEFAULTS = {
    "jsd": "always(jsd_mean16 <= 0.15)",
    "attention": "always(attention >= 0.75)",
    "context": "always(context >= 0.8)",
    "factual": "always(factual_mean16 >= 0.85)",
}
DEFAULT = " and ".join(DEFAULTS.values())
RELAXED_MOST = 0.2


class Requirement:
    """What a compressed model must satisfy on every prompt.

    Args:
        text: A formula as `parse` reads it, a `Formula`, or a file of
            `configs/` with `get_config()`; `None` is `DEFAULT`.
        relax: Fraction by which thresholds give way, 0 to 0.2: an upper bound
            e becomes e (1 + r), a lower one e (1 - r).

    Attributes:
        formula: The `Formula`, relaxed.
        properties: Dict of name to `Formula`: the parts of a conjunction, each
            named after its signals.

    Raises:
        UserError: The text cannot be read, a signal is unknown, a threshold
            lies outside its signal's range.

    Example:
        >>> Requirement("always(jsd <= 0.15)").properties
        {'jsd': Always(...)}
    """

    def __init__(self, text=None, *, relax=0.0):
        if not 0.0 <= relax <= RELAXED_MOST:
            raise UserError(
                f"`relax_thresholds` must lie in 0..{RELAXED_MOST}. "
                f"Received: {relax}"
            )
        self.relax = relax
        formula = text if isinstance(text, stl.Formula) else read_formula(text)
        for part in formula.subformulas():
            if isinstance(part, stl.Predicate):
                _check_predicate(part)
        self.formula = relaxed(formula, relax)
        self.properties = properties(self.formula)
        self._margins = {
            name: Robustness(part) for name, part in self.properties.items()
        }

    @property
    def signals(self):
        """Base signals that must be measured."""
        names = self.formula.signals()
        return sorted({split_name(name)[0] for name in names})

    def check_lengths(self, lengths):
        """Raises a `UserError` if a window is longer than a prompt."""
        windows = [split_name(name)[1] for name in self.formula.signals()]
        check_window(max(windows), lengths)
        check_window(self.formula.horizon + 1, lengths)

    def margins(self, signals, lengths):
        """By how much each prompt satisfies each property.

        Args:
            signals: Dict of base signal to `(N, T)`.
            lengths: Tokens of each prompt `(N,)`.

        Returns:
            Dict of property to `(N,)` float32; positive is satisfied.
        """
        found = {}
        for name, margin in self._margins.items():
            own = traces(signals, margin.formula.signals(), lengths)
            found[name] = np.asarray(margin.value(own, lengths))
        return found

    def explain(self, signals, lengths):
        """For each property, an `Explanation` of each prompt."""
        found = {}
        for name, margin in self._margins.items():
            own = traces(signals, margin.formula.signals(), lengths)
            found[name] = explain(margin, own, lengths)
        return found

    def to_json(self):
        """Returns a plain dict."""
        return {"formula": str(self.formula), "relax_thresholds": self.relax}


def read_formula(text):
    """A formula from text, a file, or the default.

    Args:
        text: A formula, or the path of a Python file whose `get_config()` has
            one under `formula`; `None` is `DEFAULT`.

    Returns:
        `Formula`.
    """
    text = DEFAULT if text is None else str(text)
    if text.endswith(".py"):
        text = _formula_of_file(text)
    return parse(text)


def _formula_of_file(path):
    try:
        if not pathlib.Path(path).exists():
            raise FileNotFoundError("no such file")
        return str(runpy.run_path(path)["get_config"]()["formula"])
    except Exception as error:  # a config is a program: anything may fail
        raise UserError(
            "`formula` must be a formula, or a Python file whose get_config() "
            f"has one. Received: {path} ({type(error).__name__}: {error})"
        ) from error


def relaxed(formula, share, weaken=True):
    """A formula that is easier to satisfy.

    Args:
        formula: `Formula`.
        share: By how much each threshold gives way, as a fraction of it.
        weaken: `False` makes it harder instead, as below a negation.

    Returns:
        `Formula`.
    """
    match formula:
        case stl.Predicate(signal, comparison, threshold):
            step = share * abs(threshold) * (1.0 if weaken else -1.0)
            step = step if comparison == "<=" else -step
            return stl.Predicate(signal, comparison, threshold + step)
        case stl.Not(child):
            return stl.Not(relaxed(child, share, not weaken))
        case stl.And(parts) | stl.Or(parts):
            parts = tuple(relaxed(part, share, weaken) for part in parts)
            return type(formula)(parts)
        case stl.Implies(left, right):
            left = relaxed(left, share, not weaken)
            return stl.Implies(left, relaxed(right, share, weaken))
        case stl.Until(left, right):
            return dataclasses.replace(
                formula,
                left=relaxed(left, share, weaken),
                right=relaxed(right, share, weaken),
            )
        case _:
            child = relaxed(formula.child, share, weaken)
            return dataclasses.replace(formula, child=child)


def _check_predicate(predicate):
    base, _ = split_name(predicate.signal)
    signal = SIGNALS[base]
    if not signal.low <= predicate.threshold <= signal.high:
        raise UserError(
            f"`formula` must compare {predicate.signal} with something in "
            f"{signal.low:g}..{signal.high:.4g}. Received: {predicate}"
        )
