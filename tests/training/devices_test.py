import functools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
from absl.testing import parameterized

from tests import compiled
from tests.test_case import ON_TENSORFLOW
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.training.devices import agree_over_machines
from tfshrink.training.devices import data_parallel
from tfshrink.training.devices import machines
from tfshrink.training.devices import spread_rows

START = """
import functools, json
import numpy as np
import keras
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * {devices},
    )
from tests.training import tiny
from tfshrink.errors import UserError
from tfshrink.training.devices import data_parallel
from tfshrink.training.devices import first_device
from tfshrink.training.held_out import HeldOut
from tfshrink.training.styles import STYLES
from tfshrink.training.trainer import Trainer

examples = tiny.text(4)
batch = {{"tokens": examples.tokens, "mask": examples.mask}}

def losses(count):
    with data_parallel(count, 4):
        model = tiny.model()
        trainer = Trainer(
            model,
            style=functools.partial(
                STYLES["instantnet"][0],
                plans=tiny.plans("8", "2"),
                schedule=None,
            ),
            steps=3,
            parts=("adapters", "norms", "scales"),
            rates={{"adapters": 0.01}},
        )
        total = trainer.sums[0].value
        if keras.backend.backend() == "tensorflow":
            spread = len(getattr(total, "values", [total]))
        else:
            spread = len(total.sharding.device_set)
        found = [trainer.step(i, lambda m: batch) for i in range(3)]
        assert trainer.traces <= 3, trainer.traces
        held_out = HeldOut(model, tiny.plans("4"), examples).measure()
        trained = [float(np.abs(np.array(v)).sum()) for v in trainer.variables]
        return [spread, [x["loss"] for x in found],
                [x["gradient_norm"] for x in found], trained,
                [held_out["4"]]]
"""
DEVICES = """
found = [losses(count) for count in (1, 2)]
messages = []
for count, rows in ((3, 6), (2, 5)):
    try:
        with data_parallel(count, rows):
            pass
    except UserError as error:
        messages.append(str(error))
print(json.dumps([found, messages]))
"""


def run(script, devices=1, **environment):
    """Starts the script in a process of its own."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    own = os.environ.get("XLA_FLAGS", "")
    return subprocess.Popen(
        [sys.executable, "-c", START.format(devices=devices) + script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={
            **compiled.environment(),
            "PYTHONPATH": ".",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"{flags} {own}" if not ON_TENSORFLOW else "",
            **environment,
        },
    )


@functools.cache
def two_devices():
    """What `DEVICES` printed: with one device, with two, and messages."""
    process = run(DEVICES, devices=2)
    out, errors = process.communicate(timeout=900)
    if process.returncode:
        raise AssertionError(errors)
    return json.loads(out.splitlines()[-1])


class DataParallelTest(TestCase):
    def start(self, *args, **kwargs):
        """A process of `run` that ends with the test at the latest."""
        process = run(*args, **kwargs)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def outcome(self, process):
        """What the script printed."""
        out, errors = process.communicate(timeout=900)
        self.assertEqual(process.returncode, 0, errors[-3000:])
        return json.loads(out.splitlines()[-1])

    def test_two_devices_give_the_losses_of_one(self):
        found, messages = two_devices()
        (one, *alone), (two, *together) = found
        self.assertEqual((one, two), (1, 2))
        for own, others in zip(together, alone, strict=True):
            self.assertAllClose(own, others, rtol=1e-4, atol=1e-4)
        self.assertLess(together[0][-1], together[0][0])
        self.assertIn("at most 2", messages[0])
        self.assertIn("divide batch_size=5", messages[1])

    def test_two_machines_give_the_losses_of_one(self):
        if not ON_TENSORFLOW:
            self.skipTest("TF_CONFIG is TensorFlow's")
        script = "print(json.dumps(losses(0)))"
        (alone, _), _ = two_devices()
        sockets = [socket.create_server(("localhost", 0)) for _ in range(2)]
        workers = [f"localhost:{s.getsockname()[1]}" for s in sockets]
        for own in sockets:
            own.close()
        cluster = {"worker": workers}
        processes = [
            self.start(
                script,
                TF_CONFIG=json.dumps(
                    {"cluster": cluster, "task": {"type": "worker", "index": i}}
                ),
            )
            for i in range(2)
        ]
        first, second = [self.outcome(process) for process in processes]
        self.assertEqual(first, second)
        for own, others in zip(first[1:], alone[1:], strict=True):
            self.assertAllClose(own, others, rtol=1e-4, atol=1e-4)

    def test_one_device_leaves_a_batch_alone(self):
        batch = {"tokens": np.zeros((4, 2), "int32")}
        with data_parallel(1, 4):
            self.assertIs(spread_rows(batch), batch)

    @parameterized.parameters(
        ("{}", (0, 1)),
        ('{"cluster": {"chief": ["a"]}}', (0, 1)),
        (
            '{"cluster": {"chief": ["a"], "worker": ["b", "c"]},'
            ' "task": {"type": "worker", "index": 1}}',
            (2, 3),
        ),
        (
            '{"cluster": {"chief": ["a"], "worker": ["b"]},'
            ' "task": {"type": "chief", "index": 0}}',
            (0, 2),
        ),
    )
    def test_machines_are_chief_and_workers(self, text, expected):
        if not ON_TENSORFLOW:
            self.skipTest("TF_CONFIG is TensorFlow's")
        with mock.patch.dict(os.environ, TF_CONFIG=text):
            self.assertEqual(machines(), expected)

    def test_machines_that_no_one_can_read(self):
        if not ON_TENSORFLOW:
            self.skipTest("TF_CONFIG is TensorFlow's")
        cluster = '{"cluster": {"worker": ["a", "b"]}}'  # which of them?
        for text in ("{", "[1]", cluster):
            with mock.patch.dict(os.environ, TF_CONFIG=text):
                with self.assertRaisesRegex(UserError, "TF_CONFIG must be"):
                    machines()

    def test_one_machine_agrees_with_itself(self):
        self.assertIsNone(agree_over_machines(7, "a file"))
