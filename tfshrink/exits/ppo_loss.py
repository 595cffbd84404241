"""Advantages and the clipped objective of PPO, in NumPy.

Reference: Schulman et al., Proximal Policy Optimization, 1707.06347; its
advantages, Schulman et al., 1506.02438.
"""

import numpy as np


def advantages(reward, values, visited, discount, gae):
    """How much better than expected each choice turned out.

    Args:
        reward: `(N,)`, what comes with the last choice of an episode.
        values: `(N, E)`, what is expected at each exit.
        visited: Boolean `(N, E)`: exits up to the last choice.
        discount: γ.
        gae: λ.

    Returns:
        `(N, E)`, 0 where nothing was chosen.

    Reference: Schulman et al., 1506.02438, equation 16.
    """
    count, exits = values.shape
    found = np.zeros((count, exits))
    later, expected = np.zeros(count), np.zeros(count)
    goes_on = np.zeros(count, bool)
    for place in reversed(range(exits)):
        own = visited[:, place]
        then = np.where(goes_on, discount * expected, reward)
        step = then - values[:, place] + discount * gae * later
        found[:, place] = later = np.where(own, step, 0.0)
        goes_on, expected = own, values[:, place]
    return found


def policy_loss(logits, leaves, chance, gains, *, clip, entropy):
    """The clipped objective, negative, with its bonus: what is minimised.

    Args:
        logits: `(N,)`, of leaving, now.
        leaves: Boolean `(N,)`, what was chosen.
        chance: `(N,)`, of that choice when it was made.
        gains: `(N,)`, advantages; standardized in here.
        clip: ε.
        entropy: Weight of the bonus, per nat.

    Returns:
        A number.

    Reference: Schulman et al., 1707.06347, equation 7.
    """
    p = sigmoid(logits)
    ratio = np.where(leaves, p, 1.0 - p) / chance
    gains = _standard(gains)
    clipped = np.clip(ratio, 1.0 - clip, 1.0 + clip)
    surrogate = np.minimum(ratio * gains, clipped * gains)
    nats = np.logaddexp(0.0, logits) - p * logits
    return -(surrogate + entropy * nats).mean()


def policy_slope(logits, leaves, chance, gains, *, clip, entropy):
    """Slope `(N,)` of `policy_loss` at each logit; arguments as there."""
    p = sigmoid(logits)
    ratio = np.where(leaves, p, 1.0 - p) / chance
    gains = _standard(gains)
    far = np.where(gains > 0, ratio > 1.0 + clip, ratio < 1.0 - clip)
    moves = np.where(far, 0.0, gains * ratio * (leaves - p))
    return -(moves - entropy * logits * p * (1.0 - p)) / len(logits)


def _standard(gains):
    return (gains - gains.mean()) / (gains.std() + 1e-8)


def sigmoid(logits):
    """1 / (1 + exp(-x)), which never overflows."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))
