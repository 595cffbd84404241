import importlib.metadata
import os
import resource

import keras
import numpy as np

from tests.test_case import TestCase
from tfshrink.evaluation import environment as lib
from tfshrink.evaluation.memory import peak_memory
from tfshrink.evaluation.memory import reset_peak


class EnvironmentTest(TestCase):
    def test_versions_match_the_installed_packages(self):
        found = lib.environment()
        for name in ("keras", "numpy"):
            self.assertEqual(
                found["versions"][name], importlib.metadata.version(name)
            )
        self.assertEqual(found["backend"], keras.config.backend())
        self.assertEqual(found["cores"], len(os.sched_getaffinity(0)))
        self.assertNotEmpty(found["device"])

    def test_a_peak_can_be_forgotten(self):
        np.ones(20_000_000)  # 160 MB, gone at once
        before = peak_memory()["host_mb"]
        if not reset_peak():
            self.skipTest("the system keeps its peak")
        self.assertLess(peak_memory()["host_mb"], before)

    def test_peak_memory_grows_with_an_array(self):
        before = peak_memory()["host_mb"]
        # More than what is free under the old peak: it must show.
        now_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        array = np.ones(int((now_mb + 50) * 1e6 / 8))
        after = peak_memory()["host_mb"]
        self.assertGreater(after, before + 20)
        self.assertLess(after, before + array.nbytes / 1e6 + 200)
