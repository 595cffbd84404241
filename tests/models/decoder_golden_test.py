"""Logits equal those of PyTorch (tests/golden/make_decoder_logits.py)."""

import pathlib

import numpy as np
import pytest
from absl.testing import parameterized

from tests.golden import random_checkpoints
from tests.models.sources.gguf_files import write_gguf
from tests.test_case import TestCase
from tfshrink.models.load import load_model
from tfshrink.models.sources import open_source

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "decoder_logits.npz"
TOLERANCE = 1e-3


class DecoderGoldenTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    @parameterized.parameters(*random_checkpoints.CASES)
    def test_random_checkpoint_matches_pytorch(self, case):
        random_checkpoints.write_checkpoint(self.folder, case)
        self._compare(str(self.folder), case)

    @parameterized.parameters("gpt2", "llama_tied_gqa", "llama_biases")
    def test_random_gguf_matches_pytorch(self, case):
        path = self.folder / "model.gguf"
        write_gguf(path, case, self.folder / "hf")
        self._compare(str(path), case)

    @pytest.mark.smollm2
    def test_smollm2_matches_pytorch(self):
        golden = np.load(GOLDEN)
        model = load_model("smollm2-135m")
        logits = np.asarray(model(golden["smollm2_tokens"]))[0]  # (T, V)
        for received, expected in (
            (
                logits[golden["smollm2_positions"]],
                golden["smollm2_at_positions"],
            ),
            (
                logits[:, golden["smollm2_columns"]],
                golden["smollm2_at_columns"],
            ),
        ):
            self.assertLessEqual(np.abs(received - expected).max(), TOLERANCE)

    @pytest.mark.smollm2
    def test_smollm2_tokens_match_transformers(self):
        golden = np.load(GOLDEN)
        tokenizer = open_source("smollm2-135m").tokenizer()
        self.assertEqual(
            tokenizer(str(golden["smollm2_text"]))["input_ids"],
            golden["smollm2_tokens"][0].tolist(),
        )

    def _compare(self, name, case):
        model = load_model(name)
        logits = np.asarray(model(random_checkpoints.tokens(case)))
        expected = np.load(GOLDEN)[case]
        self.assertEqual(logits.shape, expected.shape)
        self.assertLessEqual(np.abs(logits - expected).max(), TOLERANCE)
