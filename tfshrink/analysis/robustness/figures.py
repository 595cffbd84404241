"""Means over windows, and intervals of them by the bootstrap."""

from typing import NamedTuple

import numpy as np


class WindowScores(NamedTuple):
    """What was measured in each window of a text.

    Args:
        nats: `(N,)`, negative log-likelihoods, summed over the tokens that
            count.
        correct: `(N,)`, how many of these were the likeliest token.
        tokens: `(N,)`, how many there are.
    """

    nats: np.ndarray
    correct: np.ndarray
    tokens: np.ndarray

    @classmethod
    def joined(cls, parts, count):
        """Puts parts in the order of the windows.

        Args:
            parts: Pairs of window numbers and their `WindowScores`.
            count: N.
        """
        found = np.full((3, count), np.nan)
        for rows, scores in parts:
            found[:, rows] = scores
        return cls(*found)

    @classmethod
    def of_batch(cls, nats, ranks, batch):
        """Sums over each window of a batch.

        Args:
            nats: `(B, T - 1)`, as `token_scores` has them, like `ranks`.
            ranks: `(B, T - 1)`.
            batch: `WindowBatch`.

        Returns:
            `WindowScores` of its windows alone, without what fills it up.
        """
        count = len(batch.rows)
        mask = batch.mask[:count, 1:].astype("float64")
        return cls(
            (nats[:count] * mask).sum(1),
            ((ranks[:count] < 1) * mask).sum(1),
            mask.sum(1),
        )


class Figures:
    """Turns scores of windows into figures with intervals.

    A figure is `{"value", "interval": [low, high]}`. The interval is of the
    percentile bootstrap: windows are drawn anew, all that is compared on the
    same ones, so that what is alike in both cancels.

    Args:
        seed: Of the bootstrap.
        resamples: How often windows are drawn.
        confidence: Share of the means an interval holds.

    Reference: Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13.
    """

    def __init__(self, *, seed=0, resamples=999, confidence=0.95):
        self.seed = seed
        self.resamples = resamples
        self.confidence = confidence

    def levels(self, scores):
        """`nats_per_token`, `perplexity` and `token_accuracy`."""
        nats = self._figure(_mean, scores.nats, scores.tokens)
        return {
            "nats_per_token": nats,
            "perplexity": _exponential(nats),
            "token_accuracy": self._figure(
                _mean, scores.correct, scores.tokens
            ),
        }

    def change(self, scores, other):
        """From the scores of one run to those of another on the same text.

        Args:
            scores: `WindowScores` that are compared.
            other: Those they are compared with.

        Returns:
            A dict of figures: `nats_rise`, `perplexity_ratio` and
            `accuracy_drop` (a fraction).
        """
        tokens = scores.tokens
        rise = self._figure(_mean, scores.nats - other.nats, tokens)
        return {
            "nats_rise": rise,
            "perplexity_ratio": _exponential(rise),
            "accuracy_drop": self._figure(
                _mean, other.correct - scores.correct, tokens
            ),
        }

    def excess(self, scores, clean, reference, reference_clean):
        """By how much more a plan changed than full precision did.

        Returns:
            A dict of figures: `nats_rise` and `accuracy_drop`.
        """
        nats = (scores.nats - clean.nats) - (
            reference.nats - reference_clean.nats
        )
        correct = (clean.correct - scores.correct) - (
            reference_clean.correct - reference.correct
        )
        return {
            "nats_rise": self._figure(_mean, nats, scores.tokens),
            "accuracy_drop": self._figure(_mean, correct, scores.tokens),
        }

    def _figure(self, statistic, *data):
        from scipy import stats

        found = stats.bootstrap(
            data,
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=self.resamples,
            confidence_level=self.confidence,
            method="percentile",
            # Anew for each figure: none depends on those before it.
            rng=np.random.default_rng(self.seed),
        )
        low, high = found.confidence_interval
        return {
            "value": float(statistic(*data)),
            "interval": [float(low), float(high)],
        }


def _mean(sums, counts, axis=-1):
    """Per token: windows weigh what they count."""
    return sums.sum(axis) / counts.sum(axis)


def _exponential(figure):
    return {
        "value": float(np.exp(figure["value"])),
        "interval": np.exp(figure["interval"]).tolist(),
    }
