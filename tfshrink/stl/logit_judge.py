"""Judges anything that returns logits by how far it strays from a reference."""

import numpy as np

from tfshrink.errors import UserError
from tfshrink.ops import divergence
from tfshrink.stl.signals import SIGNALS

# Signals that logits alone show.
OF_LOGITS = tuple(
    name for name, one in SIGNALS.items() if not one.inside and not one.timed
)


def logit_signals(logits_of, prompts, reference, *, seconds_of=None):
    """Compares each token's logits with the reference's.

    Args:
        logits_of: Function of the tokens of one prompt `(T,)`, without padding,
            to their logits `(T, V)`.
        prompts: `Prompts`.
        reference: `Reference` of the same prompts.
        seconds_of: Function of the same tokens to `(ours, theirs)`: seconds of
            each token, `(T,)` both, of the judged and of the reference model;
            `None` measures no time.

    Returns:
        Dict of signal to `(N, T)`, NumPy; padding holds the best value.
    """
    shape, found = prompts.tokens.shape, {}
    for row, length in enumerate(prompts.lengths):
        tokens = prompts.tokens[row, :length]
        theirs = np.asarray(reference.logits[row, :length])
        own = _signals(
            np.asarray(logits_of(tokens), "float32"),
            theirs,
            prompts.gold[row, :length],
        )
        if seconds_of is not None:
            ours, other = seconds_of(tokens)
            own["response_time"] = np.asarray(ours) / np.asarray(other)
        for name, values in own.items():
            whole = found.setdefault(
                name, np.full(shape, SIGNALS[name].best, "float32")
            )
            whole[row, :length] = values
    return found


def _signals(logits, reference, gold):
    """Signals of one prompt, `(T,)` each."""
    p, q = (divergence.probabilities(x) for x in (reference, logits))
    watched = np.where(gold >= 0, gold, np.argmax(reference, axis=-1))
    watched = watched.astype("int32")
    following = np.zeros_like(watched)
    ours = divergence.compare(p, logits, watched, following)
    known = divergence.compare(p, reference, watched, following)
    ratio = np.asarray(ours["watched"]) - np.asarray(known["watched"])
    return {
        "jsd": np.asarray(ours["jsd"]),
        "factual": np.exp(ratio),
        "logit_cosine": np.asarray(divergence.cosine(reference, logits)),
        "top5_overlap": np.asarray(divergence.top_overlap(reference, logits)),
        "max_probability_deviation": np.asarray(
            divergence.peak_difference(p, q)
        ),
    }


def check_shown(requirement, *, timed=False):
    """Raises a `UserError` if logits cannot show a signal of a formula.

    Args:
        requirement: `Requirement`.
        timed: Whether the time of a token is measured.
    """
    for name in requirement.signals:
        if name in OF_LOGITS or (timed and SIGNALS[name].timed):
            continue
        hint = "needs a reference artefact to be timed beside"
        if SIGNALS[name].inside:
            hint = "lies inside the model, which an artefact does not show"
        raise UserError(
            f"`formula` must not speak of {name} for an artefact: it {hint}. "
            f"Received: {requirement.formula}"
        )
