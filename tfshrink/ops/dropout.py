"""Dropout whose noise is a function of a seed."""

from keras import ops

from tfshrink.backend import uniform


class Dropout:
    """Sets numbers to zero and scales the others up.

    Args:
        rate: Share of zeros, below 1.
        seed: Integer tensor `(2,)`.
        place: Which dropout of a model this is; calls count on from there.
    """

    def __init__(self, rate, seed, place):
        self.rate = rate
        self.seed = seed
        self.place = place
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        own = self.seed * 1000003 + 97 * self.place + self.calls
        kept = uniform(x.shape, own) >= self.rate
        return ops.where(kept, x / (1.0 - self.rate), ops.zeros((), x.dtype))
