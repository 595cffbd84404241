import os
import subprocess
import sys

from tests.test_case import ON_TENSORFLOW
from tests.test_case import TestCase

SCRIPT = """
from tfshrink.quiet import quiet
quiet()
import sys, warnings
import keras
keras.ops.ones(3) + 1
if keras.config.backend() == "tensorflow":
    import tensorflow
    tensorflow.keras
warnings.warn("x")
print("mine", file=sys.stderr)
"""


class QuietTest(TestCase):
    def _run(self, **variables):
        kept = {
            key: value
            for key, value in os.environ.items()
            if key != "TF_CPP_MIN_LOG_LEVEL"
        }
        return subprocess.run(
            [sys.executable, "-c", SCRIPT],
            capture_output=True,
            text=True,
            env={**kept, **variables},
            timeout=120,
        )

    def test_only_our_own_lines_arrive(self):
        done = self._run()
        self.assertEqual((done.stdout, done.stderr), ("", "mine\n"))

    def test_a_command_started_by_another_is_quiet_too(self):
        done = self._run(TF_CPP_MIN_LOG_LEVEL="3")
        self.assertEqual((done.stdout, done.stderr), ("", "mine\n"))

    def test_the_users_setting_wins(self):
        if not ON_TENSORFLOW:
            self.skipTest("the setting is TensorFlow's")
        done = self._run(TF_CPP_MIN_LOG_LEVEL="0")
        self.assertGreater(done.stderr.count("\n"), 1)
