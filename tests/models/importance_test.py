import numpy as np

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tests.training import tiny
from tfshrink.models.importance import contributions
from tfshrink.models.importance import order_by_importance
from tfshrink.models.ordering import CHANNELS
from tfshrink.models.ordering import HEADS

TOKENS = np.random.default_rng(0).integers(3, 500, (12, 16)).astype("int32")


class ImportanceTest(TestCase):
    def test_contributions_are_mean_squares_of_what_is_added(self):
        random = np.random.default_rng(0)
        inputs = random.normal(size=(50, 12))
        kernel = random.normal(size=(12, 5))
        found = contributions(inputs.T @ inputs / 50, kernel, 3)
        wanted = [
            np.mean(np.sum((inputs[:, own] @ kernel[own]) ** 2, axis=1))
            for own in (slice(0, 4), slice(4, 8), slice(8, 12))
        ]
        self.assertAllClose(found, wanted)

    def test_what_adds_little_goes_last(self):
        model = tiny.model(fit=False)
        wanted = model(TOKENS)
        block = model.blocks[1]
        kernel = to_numpy(block.mlp.down.kernel).copy()
        kernel[[3, 40, 99]] *= 1e-4
        block.mlp.down.kernel.assign(kernel)
        kernel = to_numpy(block.attention.output_dense.kernel).copy()
        kernel[:32] *= 1e-4  # the queries that share the first key
        block.attention.output_dense.kernel.assign(kernel)
        wanted, done = model(TOKENS), []
        order_by_importance(model, TOKENS, progress=done.append)
        self.assertEqual(done, [1, 2])
        self.assertAllClose(model(TOKENS), wanted, atol=1e-5)
        self.assertEqual(set(block.order[CHANNELS][-3:]), {3, 40, 99})
        self.assertAllEqual(block.order[HEADS], [1, 0])

    def test_a_second_time_changes_no_order(self):
        model = tiny.model(fit=False)
        order_by_importance(model, TOKENS)
        first = model.blocks[0].order[CHANNELS]
        order_by_importance(model, TOKENS)
        self.assertAllEqual(model.blocks[0].order[CHANNELS], first)
