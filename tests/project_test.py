"""The promises of the README, the packaging and the CI script."""

import configparser
import re
import subprocess
import tomllib
from pathlib import Path

from tests.test_case import TestCase

ROOT = Path(__file__).parents[1]


def _commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```bash\n(.*?)\n```", text, re.DOTALL)


class ProjectTest(TestCase):
    def test_ci_runs_the_second_command_of_the_readme(self):
        lines = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
        self.assertIn(_commands()[1], lines)

    def test_ci_script_is_sound_bash(self):
        subprocess.run(["bash", "-n", ROOT / ".ci/run"], check=True)

    def test_packaging_is_in_setup_cfg(self):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        self.assertEqual(list(project), ["build-system"])
        config = configparser.ConfigParser()
        config.read(ROOT / "setup.cfg", encoding="utf-8")
        self.assertContainsSubset(
            ["test", "bench", "jax", "gpu", "deploy", "analysis"],
            config["options.extras_require"],
        )
        required = config["options"]["install_requires"]
        self.assertNotIn("cuda", required)

    def test_local_links_of_the_documents_exist(self):
        for document in ROOT.glob("*.md"):
            links = re.findall(
                r"\]\(([^):#]+)\)", document.read_text(encoding="utf-8")
            )
            for link in links:
                self.assertTrue((ROOT / link).exists(), f"{document}: {link}")
