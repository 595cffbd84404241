import dataclasses

import numpy as np

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.models.sources import open_source
from tfshrink.models.sources import weight_names


class WeightNamesTest(TestCase):
    def test_llama_shapes_by_hand(self):
        shapes = weight_names.weight_shapes(open_source("tiny").config)
        block = {
            "attention_norm/scale": (64,),
            "attention/query/kernel": (64, 64),
            "attention/key/kernel": (64, 32),
            "attention/value/kernel": (64, 32),
            "attention/output/kernel": (64, 64),
            "mlp_norm/scale": (64,),
            "mlp/gate/kernel": (64, 128),
            "mlp/up/kernel": (64, 128),
            "mlp/down/kernel": (128, 64),
        }
        expected = {"embedding/table": (512, 64)}
        for index in range(2):
            for name, shape in block.items():
                expected[f"block_0{index}/{name}"] = shape
        expected["final_norm/scale"] = (64,)
        self.assertEqual(shapes, expected)
        self.assertEqual(list(shapes), list(expected))

    def test_gpt2_has_positions_and_biases_but_no_gate(self):
        shapes = weight_names.weight_shapes(open_source("tiny-gpt2").config)
        self.assertEqual(shapes["positions/table"], (512, 64))
        self.assertEqual(shapes["block_01/mlp/up/bias"], (128,))
        self.assertEqual(shapes["block_01/attention/output/bias"], (64,))
        self.assertEqual(shapes["final_norm/bias"], (64,))
        self.assertNotIn("block_01/mlp/gate/kernel", shapes)

    def test_untied_head_is_last(self):
        config = dataclasses.replace(open_source("tiny").config, tied=False)
        shapes = weight_names.weight_shapes(config)
        self.assertEqual(list(shapes.items())[-1], ("head/kernel", (64, 512)))

    def test_hundred_layers_take_three_digits(self):
        config = dataclasses.replace(open_source("tiny").config, layers=100)
        names = list(weight_names.weight_shapes(config))
        self.assertIn("block_007/attention_norm/scale", names)

    def test_split_name(self):
        self.assertEqual(
            weight_names.split_name("block_07/mlp/up/kernel"),
            (7, "mlp/up", "kernel"),
        )
        self.assertEqual(
            weight_names.split_name("final_norm/scale"),
            (None, "final_norm", "scale"),
        )

    def test_checked_names_file_tensor_and_shapes(self):
        with self.assertRaisesRegex(UserError, r"f\.x.*`a`.*\(2, 3\).*\(3, 2"):
            weight_names.checked("a", np.ones((3, 2)), (2, 3), "f.x")
        for bad in (np.nan, np.inf, -np.inf):
            with self.assertRaisesRegex(UserError, "finite"):
                weight_names.checked("a", np.array([1, bad]), (2,), "f.x")
