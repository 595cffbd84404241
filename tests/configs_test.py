import re
import runpy
import subprocess
import sys
from pathlib import Path

from tests.test_case import TestCase
from tfshrink.stl.parse import parse
from tfshrink.stl.requirement import DEFAULT
from tfshrink.stl.requirement import read_formula
from tfshrink.stl.requirement import Requirement
from tfshrink.training.command import load_config
from tfshrink.training.settings import TrainSettings

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.py"))
FORMULAS = [path for path in CONFIGS if path.name.startswith("stl_")]
TRAINING = [path for path in CONFIGS if path not in FORMULAS]
BINARIES = sorted(path for path in (ROOT / "bin").iterdir() if path.is_file())


def commands(text):
    """`bin/` command lines of the bash blocks of a Markdown text."""
    found = []
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            found += re.findall(r"bin/\w+[^&|#]*", line)
    return found


def flags_of(command):
    """Names of the `--name=value` and `--name` words of a command line."""
    plain = re.sub(r"\"[^\"]*\"|'[^']*'", "value", command)
    return re.findall(r"(?<!\S)--(\w+)", plain)


def defined_in(binary):
    """Names of the flags that a binary's help lists."""
    done = subprocess.run(
        [sys.executable, str(binary), "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return set(re.findall(r"^  --(?:\[no\])?(\w+)", done.stdout, re.MULTILINE))


class ConfigsTest(TestCase):
    def test_every_config_of_training_holds_valid_settings(self):
        for path in TRAINING:
            values = load_config(str(path))
            settings = TrainSettings(**values).to_json()
            self.assertEqual({name: settings[name] for name in values}, values)

    def test_every_formula_can_be_read_and_required(self):
        names = [path.name for path in FORMULAS]
        self.assertContainsSubset(["stl_default.py", "stl_strict.py"], names)
        for path in FORMULAS:
            values = runpy.run_path(str(path))["get_config"]()
            self.assertEqual(list(values), ["formula"], path.name)
            formula = read_formula(path)
            self.assertEqual(formula, parse(values["formula"]))
            self.assertEqual(Requirement(path).formula, formula)

    def test_the_default_formula_is_that_of_its_config(self):
        values = runpy.run_path(str(ROOT / "configs/stl_default.py"))
        self.assertEqual(values["get_config"]()["formula"], DEFAULT)

    def test_every_configs_docstring_gives_its_command(self):
        for paths, flag in ((TRAINING, "config"), (FORMULAS, "formula")):
            for path in paths:
                text = path.read_text()
                self.assertStartsWith(text, '"""', path.name)
                manual = text.split('"""')[1]
                self.assertIn(f"--{flag}=configs/{path.name}", manual)


class CommandsTest(TestCase):
    def test_commands_in_the_manuals_name_flags_that_exist(self):
        known = {path.name: defined_in(path) for path in BINARIES}
        texts = {path.name: path.read_text() for path in ROOT.glob("*.md")}
        for path in BINARIES:
            manual = path.read_text().split('"""')[1]
            texts[path.name] = f"```bash\n{manual}```"
        for path in CONFIGS:
            manual = path.read_text().split('"""')[1]
            texts[path.name] = f"```bash\n{manual}```"
        for name, text in texts.items():
            for command in commands(text):
                binary = command.split()[0].removeprefix("bin/")
                if binary not in known:
                    continue  # named before it exists, as in a plan
                for flag in flags_of(command):
                    own = flag.removeprefix("no")
                    self.assertTrue(
                        {flag, own} & known[binary], f"{name}: {command}"
                    )

    def test_flags_are_read_off_command_lines(self):
        line = '```bash\nbin/train --plan="8;--x" --cpu && bin/x --y\n```'
        first, second = commands(line.replace('"8;--x"', '"8;4"'))
        self.assertEqual(flags_of(first), ["plan", "cpu"])
        self.assertEqual(flags_of(second), ["y"])
