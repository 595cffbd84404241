"""Step-indexed batches of pairs, each of one of a few static shapes."""

import numpy as np

from tfshrink.data.batches import Batches
from tfshrink.data.pack import tokenize
from tfshrink.errors import UserError

LENGTHS = (16, 32, 64, 128)


def tokenize_pairs(pairs, tokenizer):
    """Returns the token ids of both sides.

    Args:
        pairs: List of (source, target) strings.
        tokenizer: As for `tfshrink.data.pack.tokenize`.

    Returns:
        (sources, targets), each a list of int32 arrays without special
        tokens.
    """
    sides = [[pair[side] for pair in pairs] for side in (0, 1)]
    return tuple(tokenize(texts, tokenizer) for texts in sides)


def source_rows(sources, length, *, pad, end):
    """Returns what an encoder reads: each source, `</s>`, then padding.

    Args:
        sources: Token ids of B sources, each shorter than `length`.
        length: S, in tokens.
        pad: Token id.
        end: Token id of `</s>`.

    Returns:
        `{"source": int32 (B, S), "source_mask": float32 (B, S)}`; the mask is
        1 up to `</s>`.
    """
    rows, mask = _rows([[*row, end] for row in sources], length, pad)
    return {"source": rows, "source_mask": mask}


class PairBatches:
    """Batches of pairs as a pure function of the seed and the step.

    A pair goes to the shortest bucket with room for both sides and one
    special token each. A bucket of length L has `tokens_per_batch // L` pairs
    a batch, so that batches cost about the same and only `len(lengths)`
    shapes are ever compiled. An epoch shows every pair once: what does not
    fill a batch moves on to the next longer bucket, and only the last batch of
    the longest in use is filled up, by repeats whose `target_mask` is 0. Pairs,
    and batches of all lengths, are in an order that each epoch draws anew.

    Args:
        sources: Token ids of each English text, without special tokens.
        targets: The same of each translation.
        special: Ids of `<pad>`, `<s>` and `</s>`.
        lengths: Ascending lengths of the buckets, in tokens.
        tokens_per_batch: Positions of a batch, of one side, at most; a batch
            has at least one pair.
        seed: Integer ≥ 0; decides the order.
        shuffle: Whether the order is drawn; else pairs go by length, in the
            order given.

    Attributes:
        left_out: How many pairs are longer than the longest bucket.
        shapes: `{length: pairs in a batch}` of the buckets in use.
        steps_per_epoch: Batches in an epoch.

    Raises:
        UserError: No pair fits, or an argument is out of its range.

    Example:

    >>> batches = PairBatches(*tokenize_pairs(pairs, tokenizer),
    ...                       special=(0, 1, 2), seed=0)
    >>> batches.at(100)["target_in"].shape
    (128, 32)
    """

    def __init__(
        self,
        sources,
        targets,
        *,
        special,
        seed,
        lengths=LENGTHS,
        tokens_per_batch=4096,
        shuffle=True,
    ):
        if tokens_per_batch < 1:
            raise UserError(
                "`tokens_per_batch` must be at least 1. "
                f"Received: {tokens_per_batch}"
            )
        if not lengths or list(lengths) != sorted({*lengths}) or lengths[0] < 2:
            raise UserError(
                "`lengths` must be ascending, each at least 2 tokens. "
                f"Received: {lengths}"
            )
        self.sources = sources
        self.targets = targets
        self.pad, self.start, self.end = special
        self.seed = seed
        self.shuffle = shuffle
        self._members = _buckets(sources, targets, lengths)
        self.left_out = len(sources) - sum(map(len, self._members.values()))
        self._sizes = {n: max(1, tokens_per_batch // n) for n in lengths}
        self._newest = 0, self._planned(0)
        plan = self._newest[1]
        self.steps_per_epoch = len(plan)
        if not plan:
            raise UserError(
                f"`pairs` must have one of at most {lengths[-1] - 1} tokens a "
                f"side. Received: {len(sources)}, longer all"
            )
        used = sorted({length for length, _ in plan})
        self.shapes = {length: self._sizes[length] for length in used}

    def __len__(self):
        """Batches in an epoch."""
        return self.steps_per_epoch

    def at(self, step):
        """Returns the batch of `step`, B pairs of S = T tokens.

        Args:
            step: Integer ≥ 0.

        Returns:
            `source` int32 (B, S), which ends with `</s>`; `source_mask`
            float32 (B, S); `target_in` int32 (B, T), which begins with `<s>`;
            `target_out` int32 (B, T), one token ahead, which ends with
            `</s>`; and `target_mask` float32 (B, T), 1 where `target_out`
            counts.
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        newest, plan = self._newest
        if epoch != newest:
            plan = self._planned(epoch)
            self._newest = epoch, plan
        length, pairs = plan[place]
        missing = self._sizes[length] - len(pairs)
        rows = [*pairs, *[pairs[0]] * missing]
        targets = [self.targets[row] for row in rows]
        inputs = [[self.start, *target] for target in targets]
        outputs = [[*target, self.end] for target in targets]
        batch = source_rows(
            [self.sources[row] for row in rows],
            length,
            pad=self.pad,
            end=self.end,
        )
        batch["target_in"], _ = _rows(inputs, length, self.pad)
        batch["target_out"], mask = _rows(outputs, length, self.pad)
        mask[len(pairs) :] = 0
        return {**batch, "target_mask": mask}

    # Made ahead in a thread; it needs `at` alone.
    iterate = Batches.iterate

    def _planned(self, epoch):
        """`[(length, row numbers)]` of an epoch; its size is always the same.

        Which pairs move on to a longer bucket is drawn anew, how many never.
        """
        random = np.random.default_rng((self.seed, epoch))
        plan = []
        waiting = np.zeros(0, np.int64)
        for length, members in self._members.items():
            order = random.permutation(members) if self.shuffle else members
            waiting = np.concatenate([waiting, order])
            size = self._sizes[length]
            last = length == max(self._members)
            end = len(waiting) if last else len(waiting) // size * size
            for first in range(0, end, size):
                plan.append((length, waiting[first : first + size]))
            waiting = waiting[end:]
        if not self.shuffle:
            return plan
        return [plan[place] for place in random.permutation(len(plan))]


def _buckets(sources, targets, lengths):
    """`{length: row numbers}` up to the longest bucket that has any."""
    needed = [
        1 + max(len(source), len(target))
        for source, target in zip(sources, targets, strict=True)
    ]
    places = np.searchsorted(lengths, np.asarray(needed, np.int64))
    used = places[places < len(lengths)]
    return {
        length: np.flatnonzero(places == place)
        for place, length in enumerate(lengths[: used.max(initial=-1) + 1])
    }


def _rows(token_lists, length, pad):
    """Token lists as int32 (B, length), and the float32 mask of their own."""
    rows = np.full((len(token_lists), length), pad, np.int32)
    mask = np.zeros(rows.shape, np.float32)
    for row, tokens in enumerate(token_lists):
        rows[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return rows, mask
