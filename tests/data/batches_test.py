import itertools
import threading

import numpy as np
import pytest

from tests.test_case import TestCase
from tfshrink.data.batches import Batches
from tfshrink.data.examples import Examples
from tfshrink.errors import UserError


def numbered(rows, context=4):
    """Examples whose row n is full of n."""
    tokens = np.repeat(np.arange(rows, dtype=np.int32)[:, None], context, 1)
    return Examples(tokens, np.ones(tokens.shape, np.float32))


def rows_of(batches, steps):
    return np.concatenate([batches.at(s)["tokens"][:, 0] for s in steps])


class BatchesTest(TestCase):
    def test_an_epoch_shows_every_row_once(self):
        batches = Batches(numbered(10), batch_size=4, seed=1)
        rows = rows_of(batches, range(5)).reshape(2, 10)
        for epoch in rows:
            self.assertAllEqual(np.sort(epoch), np.arange(10))
        self.assertNotAllClose(rows[0], rows[1])
        self.assertLen(batches, 3)
        self.assertEqual(batches.steps_per_epoch, 3)

    def test_a_step_depends_on_the_seed_and_nothing_before_it(self):
        forwards = Batches(numbered(10), batch_size=3, seed=7)
        expected = [forwards.at(step) for step in range(40)]
        backwards = Batches(numbered(10), batch_size=3, seed=7)
        for step in (39, 0, 17, 3, 38, 17):
            self.assertAllEqual(backwards.at(step), expected[step])
        other = Batches(numbered(10), batch_size=3, seed=8)
        self.assertNotAllClose(
            rows_of(other, range(10)), rows_of(forwards, range(10))
        )

    def test_a_batch_larger_than_the_data_wraps(self):
        rows = rows_of(Batches(numbered(3), batch_size=8, seed=0), range(3))
        for epoch in rows.reshape(8, 3):
            self.assertAllEqual(np.sort(epoch), [0, 1, 2])

    def test_unshuffled_rows_keep_their_order(self):
        batches = Batches(numbered(5), batch_size=2, seed=0, shuffle=False)
        self.assertAllEqual(
            rows_of(batches, range(5)), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
        )

    def test_iterate_yields_what_at_returns(self):
        batches = Batches(numbered(10), batch_size=3, seed=7)
        for step, batch in enumerate(batches.iterate(5, 9), 5):
            self.assertAllEqual(batch, batches.at(step))
        self.assertEqual(step, 13)

    def test_iterate_without_end_stops_with_its_reader(self):
        before = threading.active_count()
        batches = Batches(numbered(10), batch_size=3, seed=7)
        endless = batches.iterate()
        self.assertLen(list(itertools.islice(endless, 30)), 30)
        endless.close()
        self.assertEqual(threading.active_count(), before)

    def test_an_error_reaches_the_reader(self):
        examples = numbered(10)
        batches = Batches(examples, batch_size=3, seed=7)
        batches.examples = Examples(examples.tokens, examples.mask[:2])
        with self.assertRaises(IndexError):
            list(batches.iterate(0, 9))

    def test_dataset_matches_at(self):
        pytest.importorskip("tensorflow")
        batches = Batches(numbered(10), batch_size=3, seed=7)
        dataset = batches.as_dataset(2, 6)
        self.assertEqual(int(dataset.cardinality()), 6)
        self.assertEqual(dataset.element_spec["tokens"].shape, (3, 4))
        for step, batch in enumerate(dataset.as_numpy_iterator(), 2):
            self.assertAllEqual(batch, batches.at(step))
        self.assertEqual(step, 7)

    def test_endless_dataset(self):
        pytest.importorskip("tensorflow")
        batches = Batches(numbered(4), batch_size=3, seed=7)
        taken = list(batches.as_dataset().take(9).as_numpy_iterator())
        self.assertAllEqual(taken[8], batches.at(8))

    def test_bad_input(self):
        with self.assertRaisesRegex(UserError, "`batch_size` must be"):
            Batches(numbered(4), batch_size=0, seed=0)
        with self.assertRaisesRegex(UserError, "at least one row"):
            Batches(numbered(0), batch_size=1, seed=0)
