import importlib.util
import pathlib

from tests.test_case import TestCase

PATH = pathlib.Path(__file__).parents[2] / "docs/build.py"


class BuildTest(TestCase):
    def test_pages_hold_what_docstrings_say(self):
        spec = importlib.util.spec_from_file_location("build", PATH)
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        folder = pathlib.Path(self.create_tempdir().full_path)
        modules = ("tfshrink.plan", "tfshrink.layers.norm")
        build.build(folder, modules)
        page = (folder / "tfshrink/plan.html").read_text(encoding="utf-8")
        for text in ("from_layer_precision", "Arguments:", "Raises:"):
            self.assertIn(text, page)
        # What Keras says of its own layers is not ours to repeat.
        page = (folder / "tfshrink/layers/norm.html").read_text("utf-8")
        self.assertIn("compute_output_shape", page)
        self.assertNotIn("add_loss", page)
        self.assertTrue((folder / "search.js").is_file())
