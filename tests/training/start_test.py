import json
import pathlib

from absl.testing import parameterized

from tests.test_case import TestCase
from tests.training import tiny
from tfshrink.errors import UserError
from tfshrink.models.checkpoint import save_tensors
from tfshrink.models.sources import open_source
from tfshrink.training.start import earlier_start
from tfshrink.training.train import structure

PLAIN = {"plan": "8;4;2", "ranks": "2,4,4"}


class EarlierStartTest(TestCase):
    def start(self, file, *, train="adapters", given=PLAIN, **own):
        """What a run that is given a checkpoint of another one reads."""
        folder = pathlib.Path(self.create_tempdir().full_path)
        (folder / "checkpoints").mkdir()
        source = open_source("tiny")
        settings = tiny.settings(train=train, **PLAIN)
        precision, plans = structure(settings, source.config)
        config = {
            "model": "tiny",
            "settings": settings.to_json(),
            "precision": precision.to_json(),
            "plans": [plan.to_json() for plan in plans],
            "identity": source.identity,
            **own,
        }
        (folder / "config.json").write_text(json.dumps(config))
        path = folder / "checkpoints" / file
        save_tensors(path, {"a": precision.ranks})
        settings = tiny.settings(**given, start=str(path))
        precision, plans = structure(settings, source.config)
        return earlier_start(settings, source, precision, plans)

    @parameterized.parameters("start.safetensors", "final.safetensors")
    def test_a_checkpoint_of_the_same_structure_is_read(self, file):
        tensors, _ = self.start(file)
        self.assertAllEqual(tensors["a"], [2, 4, 4])

    def test_none_is_none(self):
        self.assertIsNone(earlier_start(tiny.settings(), None, None, []))

    def test_the_state_of_the_optimizers_is_no_start(self):
        with self.assertRaisesRegex(UserError, "`start` must be start.safe"):
            self.start("last.safetensors")

    def test_a_run_that_moved_what_the_teacher_shares_is_refused(self):
        with self.assertRaisesRegex(UserError, "which trained adapters, norms"):
            self.start("final.safetensors", train="adapters,norms")
        self.assertLen(
            self.start("start.safetensors", train="adapters,norms"), 2
        )

    @parameterized.parameters(
        {"given": {**PLAIN, "ranks": "2,2,2"}},
        {"given": {"plan": "8;4", "ranks": "2,4"}},
        {"identity": "another"},
    )
    def test_another_structure_or_model_is_refused(self, **own):
        with self.assertRaisesRegex(UserError, "`start` must be of a run with"):
            self.start("start.safetensors", **own)

    def test_a_run_whose_channels_are_not_sorted_is_refused(self):
        narrow = {"plan": "4;2", "ranks": "4,4"}
        config = open_source("tiny").config
        precision, plans = structure(tiny.settings(**narrow), config)
        with self.assertRaisesRegex(UserError, "that removes heads or chan"):
            self.start(
                "start.safetensors",
                given={**narrow, "plan": "4:channels=.25;2"},
                precision=precision.to_json(),
                plans=[plan.to_json() for plan in plans],
            )

    def test_a_broken_run_folder_is_blamed_on_the_flag(self):
        with self.assertRaisesRegex(UserError, "`start` must lie in a run"):
            self.start("start.safetensors", precision=None)
