import functools
import os
from unittest import mock

import numpy as np

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tests.training import tiny
from tfshrink.errors import UserError
from tfshrink.models.checkpoint import load_tensors
from tfshrink.run_folder import RunFolder
from tfshrink.training import fit as fit_module
from tfshrink.training.fit import fit
from tfshrink.training.fit import LAST
from tfshrink.training.fit import make_trainer
from tfshrink.training.fit import NEXT
from tfshrink.training.trainer import DivergedError

SETTINGS = tiny.settings(plan="8;4", total_steps=4, learning_rate=3e-3)
PLANS = tiny.plans("8", "4")


class Stopped(BaseException):
    """Stands for a kill: nothing may catch it."""


@functools.cache
def shared():
    """A model, its trainer and the state both start from."""
    model = tiny.model()
    trainer = make_trainer(model, SETTINGS, PLANS)
    return model, trainer, {k: to_numpy(v) for k, v in trainer.state().items()}


class FitTest(TestCase):
    def setUp(self):
        super().setUp()
        self.model, self.trainer, self.start = shared()
        self.restart()
        self.enter_context(
            mock.patch.object(
                fit_module, "make_trainer", lambda *args: self.trainer
            )
        )
        self.folder = RunFolder(self.create_tempdir().full_path + "/run")

    def restart(self):
        """What a new process has: the initialised model, empty moments."""
        for name, variable in self.trainer.state().items():
            variable.assign(self.start[name])
        for total in self.trainer.sums:
            total.assign(np.zeros(total.shape, "float32"))

    def fit(self, folder=None):
        folder = folder or self.folder
        fit(self.model, SETTINGS, PLANS, tiny.text(), folder)
        return {k: to_numpy(v) for k, v in self.trainer.state().items()}

    def test_steps_leave_metrics_and_a_checkpoint(self):
        state = self.fit()
        lines = self.folder.metrics()
        self.assertEqual([line["step"] for line in lines], [1, 2, 3, 4])
        self.assertEqual(set(lines[0]["losses"]), {"8", "4"})
        for name in ("loss", "entropy", "gradient_norm", "tokens_per_second"):
            self.assertGreater(lines[0][name], 0)
        tensors, metadata = load_tensors(self.folder.checkpoints / LAST)
        self.assertEqual(metadata["step"], "4")
        self.assertAllEqual(tensors, state)
        self.assertFalse((self.folder.checkpoints / NEXT).exists())

    def test_a_resumed_run_ends_with_the_same_bits(self):
        expected = self.fit()
        for stop in (1, 3):
            self.restart()
            folder = RunFolder(self.create_tempdir().full_path + "/run")
            log = folder.log

            def killed(record, log=log, stop=stop):
                log(record)
                if record["step"] == stop:
                    raise Stopped

            with mock.patch.object(folder, "log", killed):
                with self.assertRaises(Stopped):
                    self.fit(folder)
            self.restart()
            resumed = RunFolder(folder.path, resume=True)
            self.assertAllEqual(self.fit(resumed), expected)
            steps = [line["step"] for line in resumed.metrics()]
            self.assertEqual(steps, [1, 2, 3, 4])

    def test_a_finished_run_resumes_to_itself(self):
        expected = self.fit()
        self.restart()
        unfinished = self.folder.checkpoints / ".last.safetensors.1.tmp"
        unfinished.write_bytes(b"half")
        resumed = RunFolder(self.folder.path, resume=True)
        self.assertAllEqual(self.fit(resumed), expected)
        self.assertFalse(unfinished.exists())

    def test_divergence_keeps_the_last_good_checkpoint(self):
        rates = dict(self.trainer.rates)
        self.addCleanup(self.trainer.rates.update, rates)
        step = self.trainer.step

        def wild(number, batch_at):
            if number == 2:  # its update ruins what step 3 will see
                for name in self.trainer.rates:
                    self.trainer.rates[name] = 1e20
            return step(number, batch_at)

        with mock.patch.object(self.trainer, "step", wild):
            with self.assertRaisesRegex(DivergedError, "plan . .*step 4"):
                self.fit()
        tensors, metadata = load_tensors(self.folder.checkpoints / LAST)
        self.assertEqual(metadata["step"], "2")
        for name, value in tensors.items():
            self.assertLess(np.abs(value.astype("float64")).max(), 1e4, name)
        self.trainer.rates.update(rates)
        resumed = RunFolder(self.folder.path, resume=True)
        self.restart()
        self.fit(resumed)
        self.assertEqual(len(resumed.metrics()), 4)

    def test_a_damaged_or_foreign_checkpoint_is_named(self):
        self.fit()
        path = self.folder.checkpoints / LAST
        os.truncate(path, 500)
        with self.assertRaisesRegex(UserError, LAST):
            self.fit()
        fit_module.save_tensors(path, {"x": np.ones(2)}, {"step": 1})
        with self.assertRaisesRegex(UserError, f"{LAST} must hold the state"):
            self.fit()
