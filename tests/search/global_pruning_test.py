import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.models.load import load_model
from tfshrink.search.global_pruning import global_levels


def magnitudes(model):
    """All magnitudes of each layer group, `None` outside of blocks."""
    return [
        np.concatenate([np.abs(np.asarray(x.kernel)).ravel() for x in members])
        if name.startswith("block_")
        else None
        for name, members in model.groups().items()
    ]


class GlobalLevelsTest(TestCase):
    def setUp(self):
        super().setUp()
        self.model = load_model("tiny")
        # One layer is much smaller than the others, one larger.
        for block, factor in zip(self.model.blocks, (0.2, 3.0), strict=True):
            for layer in block.groups()["mlp_in"]:
                layer.kernel.assign(factor * np.asarray(layer.kernel))

    @parameterized.parameters(0.1, 0.35, 0.5)
    def test_levels_are_those_of_one_quantile(self, level):
        own = magnitudes(self.model)[:-1]
        threshold = np.quantile(np.concatenate(own), level)
        wanted = [np.mean(values < threshold) for values in own]
        found = global_levels(self.model, level)
        self.assertAllClose(found[:-1], wanted, atol=2e-3)
        self.assertEqual(found[-1], 0.0)
        self.assertGreater(found[2] - found[6], 0.2)

    def test_a_sample_stands_for_all(self):
        whole = global_levels(self.model, 0.4)
        found = global_levels(self.model, 0.4, sample=512)
        self.assertAllClose(found, whole, atol=0.06)

    def test_something_is_left_of_every_layer(self):
        for layer in self.model.blocks[0].groups()["mlp_in"]:
            layer.kernel.assign(1e-6 * np.asarray(layer.kernel))
        self.assertEqual(global_levels(self.model, 0.5)[2], 0.99)
