import pathlib
import subprocess
import sys

from absl.testing import parameterized

from tests.golden import random_checkpoints
from tests.models.sources.gguf_files import write_gguf
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.models.sources import open_source


class OpenSourceTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def test_paths_find_their_kind(self):
        path = self.folder / "some.gguf"
        write_gguf(path, "llama", self.folder / "hf")
        for given in (path, str(path)):
            self.assertEqual(open_source(given).config.name, "some")
        self.assertEqual(open_source(self.folder / "hf").config.name, "hf")

    @parameterized.parameters(
        ("smollm2", "Did you mean `smollm2-135m`"),
        ("gpt-2", "Did you mean `gpt2`"),
        ("tinny", "Did you mean `tiny`"),
        ("", "Received: ''"),
        ("a/b/c", "Received: 'a/b/c'"),
        ("../none", "nothing there"),
        ("none.gguf", "nothing there"),
        ("~/none/at/all", "nothing there"),
    )
    def test_unknown_names(self, name, message):
        with self.assertRaisesRegex(UserError, message) as caught:
            open_source(name)
        self.assertIn("--model", str(caught.exception))

    def test_files_of_other_kinds(self):
        random_checkpoints.write_checkpoint(self.folder, "gpt2")
        with self.assertRaisesRegex(UserError, "expected the folder"):
            open_source(self.folder / "model.safetensors")
        with self.assertRaisesRegex(UserError, "letters GGUF"):
            _ = open_source(self.folder / "config.json").config
        with self.assertRaisesRegex(UserError, "config.json: expected"):
            _ = open_source(self.create_tempdir().full_path).config

    def test_nothing_heavy_is_imported(self):
        program = (
            "import sys\n"
            "from tfshrink.models.sources import open_source\n"
            "list(open_source('tiny').weights())\n"
            "heavy = {'tensorflow', 'keras', 'transformers', 'gguf', 'torch'}\n"
            "print(sorted(heavy & set(sys.modules)))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(done.stdout.strip(), "[]")
