"""The progress bar of harness tasks."""

import contextlib

from tfshrink.data.progress_bar import progress_bar


def harness_bar(material, total):
    """A `progress_bar` of requests, unless another is on the screen.

    Args:
        material: `Material`: its windows and questions have a bar of their own.
        total: Requests.
    """
    if material.rows:
        return contextlib.nullcontext(lambda done, tokens: None)
    return progress_bar("lm_eval", total)
