import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tests.training import tiny
from tfshrink.models.checkpoint import load_model_state
from tfshrink.models.checkpoint import save_model
from tfshrink.models.folds import fold
from tfshrink.models.ordering import CHANNELS
from tfshrink.models.ordering import HEADS
from tfshrink.models.ordering import orders
from tfshrink.models.ordering import reorder
from tfshrink.models.ordering import set_orders

TOKENS = np.arange(24, dtype="int32").reshape(2, 12) * 7


def shuffled(model, seed=0):
    """Every block in an order of its own."""
    random = np.random.default_rng(seed)
    for block in model.blocks:
        reorder(block, HEADS, random.permutation(model.config.kv_heads))
        reorder(block, CHANNELS, random.permutation(model.config.hidden))
    return model


class OrderingTest(TestCase):
    @parameterized.parameters("tiny", "tiny-gpt2")
    def test_order_changes_nothing_that_is_computed(self, name):
        model = tiny.model(name, fit=False, ranks=())
        wanted = model(TOKENS)
        before = np.array(model.blocks[0].mlp.down.kernel)
        # Orders are of the source, not of what is there.
        shuffled(shuffled(model, seed=1))
        self.assertAllClose(model(TOKENS), wanted, atol=1e-5)
        order = model.blocks[0].order[CHANNELS]
        self.assertAllEqual(model.blocks[0].mlp.down.kernel, before[order])
        set_orders(model, {})
        self.assertAllEqual(model.blocks[0].mlp.down.kernel, before)

    def test_a_head_takes_its_queries_along(self):
        model = tiny.model(fit=False, ranks=())
        attention = model.blocks[0].attention
        before = np.array(attention.query.kernel)
        reorder(model.blocks[0], HEADS, [1, 0])
        wanted = np.concatenate([before[:, 32:], before[:, :32]], 1)
        self.assertAllEqual(attention.query.kernel, wanted)

    def test_what_was_folded_moves_along(self):
        model = tiny.model(fit=False, ranks=())
        wanted = model(TOKENS)
        block = model.blocks[0]
        factors = np.linspace(0.5, 2.0, 128).astype("float32")
        fold(block, "mlp_out", factors)
        shuffled(model)
        order = block.order[CHANNELS]
        self.assertAllEqual(block.mlp.down.fold, factors[order])
        fold(block, "mlp_out", np.ones(128, "float32"))
        self.assertAllClose(model(TOKENS), wanted, atol=1e-5)

    def test_a_checkpoint_brings_the_order_back(self):
        path = self.create_tempdir().full_path + "/x.safetensors"
        model = shuffled(tiny.model(fit=False))
        fold(model.blocks[1], "mlp_out", np.linspace(0.5, 2, 128))
        save_model(path, model)
        # One that has another order, and one that has none.
        for other in (shuffled(tiny.model(fit=False), 5), tiny.model()):
            load_model_state(path, other)
            self.assertAllEqual(orders(other), orders(model))
            for own, wanted in zip(
                other.variables, model.variables, strict=True
            ):
                self.assertAllClose(own, wanted, rtol=1e-6)
