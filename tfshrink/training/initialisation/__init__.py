"""Where scales and codes start from, before any training."""

from tfshrink.training.initialisation.calibrate import initialise
from tfshrink.training.initialisation.calibrate import METHODS
from tfshrink.training.initialisation.smoothing import smooth

__all__ = ["METHODS", "initialise", "smooth"]
