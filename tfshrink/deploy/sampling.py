"""Choosing the next token from one row of logits, in NumPy."""

import dataclasses

import numpy as np

from tfshrink.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are chosen.

    Args:
        temperature: Divides the logits; 0 always takes the likeliest token.
        top_k: Keep only the likeliest tokens; 0 keeps all.
        top_p: Keep only the likeliest tokens of together this probability.
        repetition_penalty: Divides positive and multiplies negative logits
            of tokens that occurred, in the prompt too.
        seed: The same seed makes the same text.

    Raises:
        UserError: a value out of its range.
    """

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 0.95
    repetition_penalty: float = 1.1
    seed: int = 0

    def __post_init__(self):
        for name, valid, expected in (
            ("temperature", self.temperature >= 0, "at least 0"),
            ("top_k", self.top_k >= 0, "at least 0 (0 is off)"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("repetition_penalty", self.repetition_penalty > 0, "above 0"),
            ("seed", self.seed >= 0, "at least 0"),
        ):
            if not valid:
                raise UserError(
                    f"`{name}` must be {expected}. "
                    f"Received: {getattr(self, name)}"
                )


class Sampler:
    """Chooses one token after the other.

    The order is that of `transformers`: repetition penalty, temperature,
    top-k, then top-p of what top-k has left.

    Args:
        sampling: `Sampling`.
        prompt: Tokens that the repetition penalty falls on from the start.
    """

    def __init__(self, sampling, prompt=()):
        self.sampling = sampling
        self.seen = set(prompt)
        self.random = np.random.default_rng(sampling.seed)

    def __call__(self, logits):
        """The next token.

        Args:
            logits: float32 `(V,)`.
        """
        own = self.sampling
        if own.repetition_penalty != 1 and self.seen:
            logits = penalized(logits, list(self.seen), own.repetition_penalty)
        if own.temperature == 0:
            token = int(logits.argmax())
        else:
            token = self._draw(logits / np.float32(own.temperature))
        self.seen.add(token)
        return token

    def _draw(self, logits):
        own = self.sampling
        tokens = None
        if 0 < own.top_k < len(logits):
            tokens = np.argpartition(logits, -own.top_k)[-own.top_k :]
            logits = logits[tokens]
        weights = np.exp(logits - logits.max(), dtype="float64")
        if own.top_p < 1:
            weights = nucleus(weights, own.top_p)
        edges = np.cumsum(weights)
        place = np.searchsorted(
            edges, self.random.random() * edges[-1], "right"
        )
        return int(place if tokens is None else tokens[place])


def penalized(logits, seen, penalty):
    """Logits with the tokens `seen` less likely.

    Reference: Keskar et al., CTRL, arXiv:1909.05858, section 4.1.
    """
    logits = logits.copy()
    own = logits[seen]
    logits[seen] = np.where(own > 0, own / penalty, own * penalty)
    return logits


def nucleus(weights, top_p):
    """Sets weights to zero but the likeliest, of together `top_p`.

    Reference: Holtzman et al., nucleus sampling, arXiv:1904.09751.
    """
    ordered = np.sort(weights)[::-1]
    sums = np.cumsum(ordered)
    # A token is kept when those likelier than it have less than the share.
    last = int(np.searchsorted(sums, top_p * sums[-1], "left"))
    return np.where(weights >= ordered[last], weights, 0.0)
