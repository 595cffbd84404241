import pathlib

import numpy as np
from absl.testing import parameterized

from tests.deploy.litert.exit_session_test import decoder
from tests.deploy.litert.exit_session_test import plan_for
from tests.layers.layer_inputs import randomize
from tests.test_case import TestCase
from tfshrink.deploy.exit_check import compare_exits
from tfshrink.deploy.frozen import freeze
from tfshrink.deploy.frozen_exits import freeze_exits
from tfshrink.deploy.litert.write import write_litert
from tfshrink.exit_spec import ExitSpec
from tfshrink.structure import plan_tensor

SPEC = ExitSpec.parse("classifier:.5:layers=1,2:pending=4")
TOKENS = np.random.default_rng(1).integers(3, 500, 40).tolist()


class CompareExitsTest(TestCase):
    @parameterized.parameters(("32", 0, 1.0), ("8", 8, 0.8))
    def test_a_file_does_as_its_model(self, text, activations, least):
        made = decoder(activations=activations)
        plan = plan_for(made, text)
        path = pathlib.Path(self.create_tempdir().full_path, "model.tflite")
        exits = freeze_exits(made, plan, SPEC.layers)
        write_litert(freeze(made, plan), path, exits=exits)
        own = path, SPEC, TOKENS, plan_tensor(made.config, plan)
        found = compare_exits(made, *own)
        self.assertBetween(found["same through exits"], least, 1.0)
        self.assertBetween(found["blocks a token"], 1.1, 2.9)
        for head in made.exit_heads:  # the file no longer has them
            randomize(head, 9, size=0.2)
        other = compare_exits(made, *own)
        self.assertLess(other["same through exits"], 0.8)
        self.assertEqual(other["blocks a token"], found["blocks a token"])
