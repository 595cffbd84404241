"""One thing that is done to a model, at one strength."""

import zlib
from typing import NamedTuple

import numpy as np


class Condition(NamedTuple):
    """An attack or a noise.

    Args:
        kind: Its name.
        strength: How hard, in the unit that `RobustnessSettings` gives it.
    """

    kind: str
    strength: float

    def random(self, seed, *where):
        """Numbers that depend on nothing but what is named here.

        Every condition begins anew: none changes what another draws.

        Args:
            seed: Of the study.
            *where: Names or numbers, such as that of a window.

        Returns:
            `numpy.random.Generator`.
        """
        words = (self.kind, float(self.strength), *where)
        return np.random.default_rng([seed, *map(_number, words)])


def _number(word):
    return zlib.crc32(str(word).encode())
