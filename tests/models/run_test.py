import json
import os

import numpy as np

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tests.training import tiny
from tfshrink.errors import UserError
from tfshrink.models.checkpoint import save_model
from tfshrink.models.run import FINAL
from tfshrink.models.run import open_run
from tfshrink.ops.scale_search import search_scale


class OpenRunTest(TestCase):
    def setUp(self):
        super().setUp()
        self.path = self.create_tempdir().full_path
        os.makedirs(f"{self.path}/checkpoints")

    def write(self, model, **changes):
        config = {
            "model": "tiny",
            "precision": model.precision.to_json(),
            "plans": [plan.to_json() for plan in tiny.plans("8", "4")],
            **changes,
        }
        with open(f"{self.path}/config.json", "w") as file:
            json.dump(config, file)
        save_model(f"{self.path}/checkpoints/{FINAL}", model)

    def test_a_run_opens_with_its_plans_and_weights(self):
        model = tiny.model(fit=False)
        up = model.blocks[1].mlp.up.adapters.up
        up.assign(to_numpy(up) + 0.25)
        self.write(model)
        run = open_run(self.path)
        self.assertEqual([plan.name for plan in run.plans], ["8", "4"])
        self.assertEqual(run.name, os.path.basename(self.path))
        self.assertEqual(run.tokenizer.eos_token, "<|im_end|>")
        for a, b in zip(model.variables, run.model.variables, strict=True):
            self.assertAllEqual(to_numpy(a), to_numpy(b), a.path)

    def test_widths_nobody_trained_get_scales(self):
        model = tiny.model()
        trained = model.blocks[0].mlp.up.quantizer
        trained.set_scale(4, to_numpy(trained.scale(4)) * 1.5)
        trained.set_scale(3, np.ones((2, 128)))  # as if never fitted
        self.assertFalse(trained.is_fitted(3))
        self.write(model)
        found = open_run(self.path, widths=(3, 4, 16)).model
        found = found.blocks[0].mlp.up.quantizer
        self.assertAllClose(found.scale(4), trained.scale(4))
        weight = model.blocks[0].mlp.up.kernel
        expected = search_scale(weight, 3, 2)
        self.assertAllClose(found.scale(3), expected, rtol=1e-2)

    def test_a_folder_without_a_run_is_named(self):
        with self.assertRaisesRegex(UserError, "config.json of a run"):
            open_run(self.path)

    def test_an_unfinished_run_says_how_to_finish_it(self):
        self.write(tiny.model(fit=False))
        os.remove(f"{self.path}/checkpoints/{FINAL}")
        with self.assertRaisesRegex(UserError, "--resume finishes one"):
            open_run(self.path)

    def test_a_damaged_checkpoint_is_named(self):
        self.write(tiny.model(fit=False))
        with open(f"{self.path}/checkpoints/{FINAL}", "r+b") as file:
            file.truncate(1000)
        with self.assertRaisesRegex(UserError, FINAL):
            open_run(self.path)

    def test_a_damaged_config_is_named(self):
        model = tiny.model(fit=False)
        for changes in ({"plans": [{"layers": 2}]}, {"precision": {"x": 1}}):
            self.write(model, **changes)
            with self.assertRaisesRegex(UserError, "config.json"):
                open_run(self.path)
