"""Windows of a text that are run at once."""

from typing import NamedTuple

import numpy as np


class WindowBatch(NamedTuple):
    """A batch that knows which windows it holds.

    Args:
        rows: Their numbers in the text, fewer than B in a last batch.
        tokens: int32 `(B, T)`.
        mask: float32 `(B, T)`, 1 where a token counts as a target; 0 in rows
            that fill up the batch.
    """

    rows: np.ndarray
    tokens: np.ndarray
    mask: np.ndarray

    def filled(self, rows):
        """Arrays of the windows, `(len(rows), ...)`, with zeros up to B."""
        missing = len(self.tokens) - len(rows)
        return np.pad(rows, [(0, missing)] + [(0, 0)] * (rows.ndim - 1))


def window_batches(examples, batch_size, rows=None):
    """Yields the windows of a text, in order, as `WindowBatch`.

    Args:
        examples: `Examples`.
        batch_size: B.
        rows: Numbers of the windows; `None` is all.
    """
    rows = np.arange(len(examples)) if rows is None else np.asarray(rows)
    for start in range(0, len(rows), batch_size):
        own = rows[start : start + batch_size]
        for batch in examples[own].batches(batch_size):
            yield WindowBatch(own, batch["tokens"], batch["mask"])
