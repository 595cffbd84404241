"""Token rows and the positions that count."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Examples:
    """Rows of tokens of one length, with a mask of the targets.

    Args:
        tokens: int32 array, (N, T).
        mask: float32 array, (N, T). `mask[n, t]` is 1 where `tokens[n, t]`
            counts as a *target*, predicted from `tokens[n, :t]`. Padding and
            prompts never count, nor does the first token of a row.
    """

    tokens: np.ndarray
    mask: np.ndarray

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, rows):
        """Returns the `Examples` of a slice or an array of row numbers."""
        return Examples(self.tokens[rows], self.mask[rows])

    @property
    def targets(self):
        """How many tokens count."""
        return int(self.mask.sum())

    def batches(self, batch_size):
        """Yields `{"tokens", "mask"}` once over all rows, in order.

        Every batch has `batch_size` rows, so that one compiled function
        serves all; what the last one lacks is filled with rows whose mask
        is 0.
        """
        for start in range(0, len(self), batch_size):
            rows = self[start : start + batch_size]
            missing = ((0, batch_size - len(rows)), (0, 0))
            yield {
                "tokens": np.pad(rows.tokens, missing),
                "mask": np.pad(rows.mask, missing),
            }
