import json
import os
import subprocess
import sys
from pathlib import Path

from tests.test_case import ON_TENSORFLOW
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.training.devices import data_parallel
from tfshrink.training.devices import spread_rows

SCRIPT = """
import functools, json
import jax
import numpy as np
from tests.training import tiny
from tfshrink.errors import UserError
from tfshrink.training.devices import data_parallel
from tfshrink.training.styles import STYLES
from tfshrink.training.trainer import Trainer

assert len(jax.devices()) == 2
examples = tiny.text(4)
batch = {"tokens": examples.tokens, "mask": examples.mask}
found = []
for count in (1, 2):
    with data_parallel(count, 4):
        trainer = Trainer(
            tiny.model(),
            style=functools.partial(
                STYLES["spnet"][0], plans=tiny.plans("8", "2"), schedule=None
            ),
            steps=3,
            parts=("adapters", "scales"),
            rates={"adapters": 0.01},
        )
        spread = len(trainer.sums[0].value.sharding.device_set)
        losses = [trainer.step(i, lambda m: batch)["loss"] for i in range(3)]
        found.append([spread, losses])
messages = []
for count, rows in ((3, 6), (2, 5)):
    try:
        with data_parallel(count, rows):
            pass
    except UserError as error:
        messages.append(str(error))
print(json.dumps([found, messages]))
"""


class DataParallelTest(TestCase):
    def test_two_devices_give_the_losses_of_one(self):
        if ON_TENSORFLOW:
            self.skipTest("devices share a batch on the JAX backend")
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
            env={
                **os.environ,
                "PYTHONPATH": ".",
                "JAX_PLATFORMS": "cpu",
                "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            },
            timeout=900,
        )
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        found, messages = json.loads(done.stdout.splitlines()[-1])
        (one, alone), (two, together) = found
        self.assertEqual((one, two), (1, 2))
        self.assertAllClose(together, alone, rtol=1e-4, atol=1e-4)
        self.assertLess(together[-1], together[0])
        self.assertIn("at most 2", messages[0])
        self.assertIn("divide batch_size=5", messages[1])

    def test_tensorflow_says_which_backend_can(self):
        if not ON_TENSORFLOW:
            self.skipTest("JAX can")
        with self.assertRaisesRegex(UserError, "KERAS_BACKEND=jax"):
            with data_parallel(2, 4):
                pass
        batch = {"tokens": 1}
        with data_parallel(0, 4):
            self.assertIs(spread_rows(batch), batch)
