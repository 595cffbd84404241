"""Whether a token of an export leaves early, in NumPy.

What `ops.confidence` and `models.segments` say in Keras, for one token.
"""

import math

import numpy as np

from tfshrink.exit_spec import GAIN

# Weights of `multi_level`, as `ops.confidence` has them.
FIRST, SECOND, CERTAINTY = 0.6, 0.3, 0.1


class ExitRule:
    """A policy along one text.

    Args:
        spec: `ExitSpec`, of every confidence but `"policy"`.
        exits: Number of exits it asks.

    Example:
        >>> rule = ExitRule(ExitSpec.parse("classifier:.9"), 1)
        >>> rule.begin(128)
        >>> rule.leaves(0, classifier(logit))
        True
    """

    def __init__(self, spec, exits):
        self.spec = spec
        thresholds = spec.thresholds
        self._thresholds = thresholds * (exits // len(thresholds))
        self.begin(1)

    @property
    def reads_logits(self):
        """Whether candidates are scored before it can say anything."""
        return bool(self.spec.margin) or self.spec.confidence in OF_LOGITS

    def begin(self, total):
        """Before a text of so many new tokens at most."""
        self._total = max(1, total)
        self._step = 0
        self._shift = 0.0

    def made(self, left):
        """Behind each token that was asked about: whether it left."""
        spec = self.spec
        if spec.target is not None:
            shift = self._shift + GAIN * (left - spec.target)
            self._shift = min(1.0, max(-1.0, shift))
        self._step += 1

    def limit(self, index):
        """What the confidence must exceed now at an exit; 1 is never."""
        threshold, spec = self._thresholds[index], self.spec
        if threshold >= 1:
            return 1.0  # whatever the target
        if spec.schedule == "decay":
            fall = math.exp(-spec.rate * self._step / self._total)
            threshold *= spec.floor + (1 - spec.floor) * fall
        return min(0.9999, max(0.0, threshold + self._shift))

    def leaves(self, index, confidence, gap=1.0):
        """Whether a token may leave at an exit.

        Args:
            index: Number of the exit, from 0.
            confidence: 0..1.
            gap: Probability of the first candidate less that of the second.
        """
        limit = self.limit(index)
        return limit < 1 and confidence > limit and gap >= self.spec.margin


def classifier(logit):
    """Probability that a logit stands for."""
    return 1.0 / (1.0 + math.exp(-max(-80.0, float(logit))))


def state_cosine(state, earlier):
    """Cosine of a state `(C,)` with an earlier one, 0 where it is below."""
    power = float(state @ state) * float(earlier @ earlier)
    cosine = float(state @ earlier) / math.sqrt(max(power, 1e-20))
    return min(1.0, max(0.0, cosine))


def margin(logits):
    """Probability of the first of `(K,)`, likeliest first, less the second."""
    p = _probabilities(logits)
    return float(p[0] - p[1])


def maximum(logits):
    """Probability of the likeliest."""
    return float(_probabilities(logits)[0])


def certainty(logits):
    """One less the entropy, as a share of its largest value."""
    return 1.0 - _entropy(logits) / math.log(len(logits))


def multi_level(logits):
    """Both gaps among the first three, and the inverse entropy."""
    p = _probabilities(logits)
    inverse = 1.0 / max(_entropy(logits), 1.0)
    gaps = FIRST * (p[0] - p[1]) + SECOND * (p[1] - p[2])
    return float(gaps + CERTAINTY * inverse)


def _probabilities(logits):
    weights = np.exp(logits - logits[0])
    return weights / weights.sum()


def _entropy(logits):
    """In nats."""
    logits = logits - logits[0]
    weights = np.exp(logits)
    total = weights.sum()
    return max(0.0, math.log(total) - float(weights @ logits / total))


OF_LOGITS = {
    "entropy": certainty,
    "margin": margin,
    "max": maximum,
    "multi_level": multi_level,
}
