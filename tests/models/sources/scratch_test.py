import dataclasses
import pathlib

import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.data.subwords import save_subwords
from tfshrink.data.subwords import train_subwords
from tfshrink.errors import UserError
from tfshrink.models.checkpoint import save_tensors
from tfshrink.models.sources import open_source
from tfshrink.models.sources.scratch import CONFIGS
from tfshrink.models.sources.scratch import ScratchSource
from tfshrink.models.sources.weight_names import weight_shapes

NAME = "tiny-transformer"


def write_tokenizer(folder):
    """A tokenizer as a run leaves it."""
    subwords = train_subwords(["one two"] * 3, vocabulary_size=270)
    save_subwords(subwords, folder / "tokenizer.json")
    return subwords


class ScratchTest(TestCase):
    def test_weights_depend_on_name_and_seed_alone(self):
        first, second, other = (
            dict(ScratchSource(NAME, seed=seed).weights()) for seed in (0, 0, 1)
        )
        shapes = {name: array.shape for name, array in first.items()}
        self.assertEqual(shapes, weight_shapes(CONFIGS[NAME]))
        for name, array in first.items():
            self.assertEqual(array.dtype, np.float32)
            self.assertAllEqual(array, second[name])
            if name.endswith(("kernel", "table")):
                self.assertGreater(np.abs(array - other[name]).max(), 0)

    def test_spread_matches_glorot(self):
        weights = dict(ScratchSource(NAME).weights())
        kernel = weights["block_00/mlp/up/kernel"]
        self.assertAllClose(
            kernel.std(), np.sqrt(2 / sum(kernel.shape)), rtol=0.06
        )
        table = weights["embedding/table"]
        norms = np.linalg.norm(table, axis=1)
        self.assertAllClose(norms.mean(), 1.0, rtol=0.02)

    @parameterized.parameters(*sorted(CONFIGS))
    def test_without_a_run_it_has_no_tokenizer(self, name):
        source = open_source(name)
        self.assertTrue(source.scratch)
        self.assertEqual(source.config.name, name)
        with self.assertRaisesRegex(UserError, f"{name} has no tokenizer"):
            source.tokenizer()

    def test_a_finished_run_gives_tokenizer_weights_and_identity(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        subwords = write_tokenizer(folder)
        source = open_source(NAME, folder)
        count = subwords.get_vocab_size()
        self.assertEqual(source.config.vocabulary, count)
        self.assertLen(source.tokenizer(), count)
        self.assertEqual(source.identity, ScratchSource(NAME).identity)
        tensors = dict(source.weights())
        tensors = {name: value + 1 for name, value in tensors.items()}
        path = folder / "checkpoints" / "final.safetensors"
        save_tensors(path, {**tensors, "exit_01/judge": np.zeros((2, 1))})
        found = dict(source.weights())
        self.assertEqual(list(found), list(weight_shapes(source.config)))
        for name, value in found.items():
            self.assertAllEqual(value, tensors[name])
        self.assertLen(source.identity["sha256"], 64)
        save_tensors(path, {"final_norm/scale": np.ones(32)})
        with self.assertRaisesRegex(UserError, "must hold all weights"):
            dict(source.weights())

    def test_configs_say_their_own_names(self):
        for name, config in CONFIGS.items():
            self.assertEqual(config.name, name)
            again = type(config).from_json(dataclasses.asdict(config))
            self.assertEqual(again, config)
