import collections

import hypothesis
import hypothesis.strategies as st
import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.data import subwords
from tfshrink.data.pair_batches import PairBatches
from tfshrink.data.pair_batches import source_rows
from tfshrink.data.pair_batches import tokenize_pairs
from tfshrink.errors import UserError

PAD, START, END = 0, 1, 2


def numbered(lengths):
    """Pair n is full of n + 10: (sources, targets) of given lengths."""
    sides = ([], [])
    for number, pair in enumerate(lengths):
        for side, length in zip(sides, pair, strict=True):
            side.append(np.full(length, number + 10, np.int32))
    return sides


def batches_of(pairs, **options):
    options = {
        "special": (PAD, START, END),
        "lengths": (4, 8, 16),
        "tokens_per_batch": 32,
        "seed": 0,
        **options,
    }
    return PairBatches(*numbered(pairs), **options)


def counted(batch):
    """Numbers of the pairs whose targets count."""
    own = batch["target_mask"][:, 0] == 1
    return batch["source"][own, 0].tolist()


class PairBatchesTest(TestCase):
    def test_batch_matches_table_by_hand(self):
        batches = batches_of([(2, 3), (1, 1)], tokens_per_batch=12)
        (batch,) = (batches.at(step) for step in range(len(batches)))
        order = np.argsort(batch["source"][:2, 0])
        wanted = {
            "source": [[10, 10, END, PAD], [11, END, PAD, PAD]],
            "source_mask": [[1, 1, 1, 0], [1, 1, 0, 0]],
            "target_in": [[START, 10, 10, 10], [START, 11, PAD, PAD]],
            "target_out": [[10, 10, 10, END], [11, END, PAD, PAD]],
            "target_mask": [[1, 1, 1, 1], [1, 1, 0, 0]],
        }
        self.assertAllEqual({k: v[order] for k, v in batch.items()}, wanted)
        # The third row fills the batch up: real text, and nothing counts.
        self.assertAllEqual(batch["source"][2], batch["source"][0])
        self.assertAllEqual(batch["source_mask"][2], batch["source_mask"][0])
        self.assertAllEqual(batch["target_mask"][2], [0, 0, 0, 0])
        for name, array in batch.items():
            mask = name.endswith("mask")
            self.assertEqual(array.dtype, np.float32 if mask else np.int32)

    def test_epoch_shows_every_pair_once_in_static_shapes(self):
        @hypothesis.settings(
            max_examples=60, deadline=None, derandomize=True, database=None
        )
        @hypothesis.given(
            st.lists(
                st.tuples(st.integers(0, 18), st.integers(0, 18)), min_size=1
            ).filter(lambda pairs: min(map(max, pairs)) < 16),
            st.integers(1, 90),
            st.booleans(),
        )
        def check(lengths, tokens, shuffle):
            # An empty side would hide the pair's number.
            lengths = [(a + 1, b + 1) for a, b in lengths if max(a, b) < 15]
            hypothesis.assume(lengths)
            batches = batches_of(
                [*lengths, (16, 1), (2, 20)],
                tokens_per_batch=tokens,
                shuffle=shuffle,
            )
            self.assertEqual(batches.left_out, 2)
            for epoch in range(2):
                seen = []
                for place in range(len(batches)):
                    batch = batches.at(epoch * len(batches) + place)
                    seen += counted(batch)
                    rows, length = batch["source"].shape
                    self.assertEqual(rows, batches.shapes[length])
                    self.assertLessEqual(rows * length, max(tokens, length))
                    shapes = {array.shape for array in batch.values()}
                    self.assertEqual(shapes, {(rows, length)})
                self.assertCountEqual(seen, range(10, 10 + len(lengths)))

        check()

    def test_pairs_are_in_the_shortest_bucket_but_for_the_remainder(self):
        lengths = [(3, 1)] * 20 + [(7, 7)] * 9 + [(1, 15)] * 5
        batches = batches_of(lengths)
        found = collections.Counter()
        for step in range(len(batches)):
            batch = batches.at(step)
            found[batch["source"].shape] += len(counted(batch))
        # 8 a batch of 4, 4 of 8, 2 of 16: 4 and 1 move on, 6 are left
        self.assertEqual(found, {(8, 4): 16, (4, 8): 12, (2, 16): 6})
        self.assertEqual(batches.shapes, {4: 8, 8: 4, 16: 2})
        self.assertEqual(batches.steps_per_epoch, 2 + 3 + 3)

    def test_unused_long_buckets_are_never_compiled(self):
        self.assertEqual(batches_of([(1, 1)] * 9).shapes, {4: 8})

    def test_a_step_depends_on_the_seed_and_nothing_before_it(self):
        lengths = [(n % 15 + 1, n * 7 % 15 + 1) for n in range(50)]
        forwards = batches_of(lengths, seed=3)
        steps = 3 * len(forwards)
        expected = [forwards.at(step) for step in range(steps)]
        backwards = batches_of(lengths, seed=3)
        for step in reversed(range(steps)):
            self.assertAllEqual(backwards.at(step), expected[step])
        others = (batches_of(lengths, seed=4), batches_of(lengths, seed=3))
        order = [counted(batch) for batch in expected[: len(forwards)]]
        for other, start in zip(others, (0, len(forwards)), strict=True):
            found = [
                counted(other.at(start + step)) for step in range(len(other))
            ]
            self.assertNotEqual(found, order)

    def test_unshuffled_pairs_go_by_length_in_their_order(self):
        batches = batches_of([(9, 1), (1, 1), (5, 5), (1, 2)], shuffle=False)
        seen = [counted(batches.at(step)) for step in range(len(batches))]
        self.assertEqual(sum(seen, []), [11, 13, 12, 10])

    def test_iterate_yields_what_at_returns(self):
        batches = batches_of([(n % 9 + 1, 3) for n in range(30)])
        for step, batch in enumerate(batches.iterate(2, 9), 2):
            self.assertAllEqual(batch, batches.at(step))
        self.assertEqual(step, 10)

    def test_source_rows_alone(self):
        found = source_rows([[5, 6], []], 4, pad=PAD, end=END)
        self.assertAllEqual(found["source"], [[5, 6, 2, 0], [2, 0, 0, 0]])
        self.assertAllEqual(found["source_mask"], [[1, 1, 1, 0], [1, 0, 0, 0]])

    def test_text_goes_through(self):
        pairs = [("Open the file", "Deschide fișierul"), ("No", "Nu")]
        tokenizer = subwords.train_subwords(sum(pairs, ()))
        sides = tokenize_pairs(pairs, tokenizer)
        batches = PairBatches(
            *sides,
            special=subwords.special_ids(tokenizer),
            seed=0,
            lengths=(64,),
            tokens_per_batch=128,
            shuffle=False,
        )
        batch = batches.at(0)
        for text, row in zip(pairs, batch["target_out"], strict=True):
            self.assertEqual(tokenizer.decode(row.tolist()), text[1])

    @parameterized.parameters(
        ({"tokens_per_batch": 0}, "`tokens_per_batch` must be at least 1"),
        ({"lengths": ()}, "`lengths` must be ascending"),
        ({"lengths": (8, 4)}, "`lengths` must be ascending"),
        ({"lengths": (1, 4)}, "each at least 2"),
        ({"lengths": (2, 3)}, "at most 2 tokens a side. Received: 1"),
    )
    def test_bad_input(self, options, message):
        with self.assertRaisesRegex(UserError, message):
            batches_of([(3, 3)], **options)
