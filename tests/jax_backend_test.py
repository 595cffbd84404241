"""The core of the suite once more: on JAX, with TensorFlow hidden."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from tests.test_case import ON_TENSORFLOW
from tests.test_case import TestCase

ROOT = Path(__file__).parents[1]
# What must pass where TensorFlow is not installed: each part that computes,
# once, and what training on a GPU goes through.
CORE = (
    "tests/analysis/robustness/robustness_meter_test.py",
    "tests/backend_test.py",
    "tests/data",
    "tests/evaluation/evaluate_test.py::EvaluateTest",
    "tests/evaluation/generate_test.py::GenerateTest"
    "::test_text_behind_a_coded_cache",
    "tests/evaluation/quality_meter_test.py",
    "tests/evaluation/token_scores_test.py",
    "tests/layers/adapter_bank_test.py",
    "tests/layers/attention_test.py",
    "tests/layers/block_test.py",
    "tests/layers/coded_kv_test.py",
    "tests/layers/cross_block_test.py",
    "tests/layers/direct_codec_test.py",
    "tests/layers/int_codec_test.py",
    "tests/layers/kv_cache_test.py",
    "tests/layers/mlp_test.py",
    "tests/layers/norm_test.py",
    "tests/layers/pca_codec_test.py",
    "tests/layers/switchable_dense_test.py",
    "tests/layers/switchable_embedding_test.py",
    "tests/layers/weight_quantizer_test.py",
    "tests/models/checkpoint_test.py",
    "tests/models/decoder_test.py",
    "tests/models/encoder_decoder_test.py::BeamSearchTest",
    "tests/models/load_test.py",
    "tests/models/precision_switch_test.py",
    "tests/ops",
    "tests/plan_test.py",
    "tests/run_folder_test.py",
    "tests/stl/plan_judge_test.py::MeansTest",
    "tests/test_case_test.py",
    "tests/training/devices_test.py",
    "tests/training/fit_test.py",
    "tests/training/initialisation/calibrate_test.py",
    "tests/training/schedules_test.py",
    "tests/training/styles_test.py",
    "tests/training/trainer_test.py",
)
# Half of the time goes into making code fast that runs once.
FAST_COMPILE = (
    "--xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true "
    "--xla_disable_hlo_passes=constant_folding"
)


class JaxBackendTest(TestCase):
    def test_core_passes_without_tensorflow(self):
        if not ON_TENSORFLOW:
            self.skipTest("this run is on JAX already")
        if not importlib.util.find_spec("jax"):
            self.skipTest("JAX is not installed")
        flags = os.environ.get("XLA_FLAGS", "")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-m", "not smollm2"]
            + list(CORE),
            cwd=ROOT,
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "KERAS_BACKEND": "jax",
                "TFSHRINK_BLOCK_TENSORFLOW": "1",
                "XLA_FLAGS": f"{FAST_COMPILE} {flags}",
            },
            timeout=900,
        )
        self.assertEqual(done.returncode, 0, done.stdout[-6000:] + done.stderr)
