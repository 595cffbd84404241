import json
import pathlib

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.training.settings import TrainSettings
from tfshrink.training.train import train


class ResumeTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        settings = TrainSettings(model="missing.gguf", total_steps=4)
        config = {"settings": settings.to_json()}
        (self.folder / "config.json").write_text(json.dumps(config))

    def resume(self, **given):
        train(
            TrainSettings(**given),
            workdir=str(self.folder),
            resume=True,
            given=given,
        )

    def test_other_settings_than_the_run_has_are_refused(self):
        with self.assertRaisesRegex(UserError, "total_steps is 4. Received: 8"):
            self.resume(total_steps=8)

    def test_the_same_settings_may_be_typed_again(self):
        # It gets as far as the model, which is not there.
        for given in ({}, {"total_steps": 4, "model": "missing.gguf"}):
            with self.assertRaisesRegex(UserError, "missing.gguf"):
                self.resume(**given)
