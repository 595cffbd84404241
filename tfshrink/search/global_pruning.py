"""One magnitude for all layers: how much of each lies below it."""

import math

import numpy as np

SAMPLE = 16_384  # weights of a kernel that stand for all of it


def global_levels(model, level, *, sample=SAMPLE):
    """Pruning levels of layer groups that one threshold for all comes to.

    Args:
        model: Built `Decoder`.
        level: Fraction of the weights of all blocks that goes.
        sample: Weights of a kernel that are looked at, spread evenly.

    Returns:
        Tuple of floats, one a layer group in model order; 0 outside of blocks.
    """
    groups = [
        [_sampled(np.asarray(member.kernel), sample) for member in members]
        if name.startswith("block_")
        else []
        for name, members in model.groups().items()
    ]
    values = np.concatenate([own for part in groups for own, _ in part])
    weights = np.concatenate(
        [np.full(len(own), size / len(own)) for g in groups for own, size in g]
    )
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    place = np.searchsorted(below, level * below[-1])
    threshold = values[order][min(place, len(values) - 1)]
    found = []
    for part in groups:
        total = sum(size for _, size in part)
        gone = sum(np.mean(own < threshold) * size for own, size in part)
        # A plan leaves something of every layer.
        found.append(min(float(gone / total), 0.99) if part else 0.0)
    return tuple(found)


def _sampled(kernel, sample):
    """Magnitudes of some weights, and how many there are."""
    stride = max(1, kernel.size // sample)
    while math.gcd(stride, kernel.shape[-1]) > 1:
        stride += 1
    return np.abs(kernel.reshape(-1)[::stride]), kernel.size
