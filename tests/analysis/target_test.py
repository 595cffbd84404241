import json
import pathlib

from absl.testing import parameterized

from tests.analysis.runs import write_log
from tests.test_case import TestCase
from tfshrink.analysis.target import open_target
from tfshrink.deploy.artefact import METADATA
from tfshrink.errors import UserError


class TargetTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.run = self.folder / "own-1"

    def test_a_run_and_its_checkpoint_are_one(self):
        write_log(self.run)
        whole = open_target(str(self.run))
        end = open_target(f"{self.run}/checkpoints/final.safetensors")
        self.assertEqual((whole.kind, whole.name), ("run", "own-1"))
        self.assertEqual((end.kind, end.path), (whole.kind, whole.path))
        self.assertEqual(whole.candidates[0].plans[0].name, "8")
        self.assertFalse(whole.translates)

    def test_a_model_has_plans_of_its_own(self):
        found = open_target("tiny", group=32)
        self.assertEqual((found.kind, found.name), ("model", "tiny"))
        names = [plan.name for plan in found.candidates[0].plans]
        self.assertEqual(names, ["8", "4", "2"])
        (one,) = open_target("tiny", plan="8", group=32).candidates
        self.assertLen(one.plans, 1)

    def test_a_checkpoint_on_the_way_is_no_model(self):
        write_log(self.run)
        path = self.run / "checkpoints" / "last.safetensors"
        path.write_bytes(b"")
        with self.assertRaisesRegex(UserError, "finished.*last.safetensors"):
            open_target(str(path))

    def test_an_unfinished_run(self):
        write_log(self.run)
        (self.run / "checkpoints" / "final.safetensors").unlink()
        with self.assertRaisesRegex(UserError, "finished run.*own-1"):
            open_target(str(self.run))

    def test_a_folder_with_nothing_but_a_log(self):
        self.run.mkdir()
        (self.run / "metrics.jsonl").write_text("")
        with self.assertRaisesRegex(UserError, "config.json of a run.*own-1"):
            open_target(str(self.run))

    @parameterized.parameters("runs/spnet-9", "saved_models/x", "out/y/z")
    def test_folders_of_ours_are_not_looked_for_on_the_hub(self, path):
        with self.assertRaisesRegex(UserError, f"{path}, where nothing is"):
            open_target(path)

    def test_a_neighbour_of_what_is_there(self):
        with self.assertRaisesRegex(UserError, "other, where nothing is"):
            open_target(str(self.folder / "other"))

    @parameterized.parameters(
        ("{", "metadata.json"),
        ("[]", "metadata.json"),
        ('{"formats": {}}', "metadata of version"),
        (
            json.dumps(
                {
                    "version": 1,
                    "config": {},
                    "plan": {},
                    "formats": {"litert": {}},
                }
            ),
            "version 1",
        ),
    )
    def test_an_export_of_another_version(self, text, message):
        self.run.mkdir()
        (self.run / METADATA).write_text(text)
        with self.assertRaisesRegex(UserError, message):
            open_target(str(self.run))
