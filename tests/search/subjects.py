"""The tiny model as the subject of searches, and its evaluator."""

import functools
import os
import tempfile
from unittest import mock

from tfshrink.search.subject import Subject

# Scales by rounding to nearest: a search for better ones takes seconds.
SMALL = {
    "model": "tiny",
    "group": 32,
    "scales": "rtn",
    "prompts": 4,
    "tokens": 32,
}
WIDTHS = (8, 4, 3)


def subject(**changes):
    """A small `Subject`."""
    return Subject(**{**SMALL, **changes})


@functools.cache
def evaluator():
    """The one that all tests of a file share; it measures `kl`, too."""
    own = subject()
    with tempfile.TemporaryDirectory() as folder, own_cache(folder):
        found = own.evaluator(own.candidate(WIDTHS), more=("kl",))
        found.judge  # noqa: B018  loads model and reference
    return found


def own_cache(folder):
    """A patch that keeps reference runs in a folder."""
    return mock.patch.dict(os.environ, {"TFSHRINK_CACHE": str(folder)})
