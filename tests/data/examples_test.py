import numpy as np

from tests.test_case import TestCase
from tfshrink.data.examples import Examples


class ExamplesTest(TestCase):
    def test_batches_show_every_row_once_and_fill_up(self):
        tokens = np.arange(1, 16, dtype=np.int32).reshape(5, 3)
        examples = Examples(tokens, np.ones((5, 3), np.float32))
        batches = list(examples.batches(2))
        self.assertLen(batches, 3)
        for batch in batches:
            self.assertEqual(batch["tokens"].shape, (2, 3))
            self.assertEqual(batch["mask"].dtype, np.float32)
        seen = np.concatenate([batch["tokens"] for batch in batches])
        mask = np.concatenate([batch["mask"] for batch in batches])
        self.assertAllEqual(seen[:5], tokens)
        self.assertAllEqual(mask.sum(axis=1), [3, 3, 3, 3, 3, 0])

    def test_rows(self):
        examples = Examples(np.eye(4), np.ones((4, 4)))
        self.assertAllEqual(examples[1:3].tokens, np.eye(4)[1:3])
        self.assertLen(examples[[0, 2, 3]], 3)
        self.assertEqual(examples[:1].targets, 4)
