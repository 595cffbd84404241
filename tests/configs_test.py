import re
import subprocess
import sys
from pathlib import Path

from tests.test_case import TestCase
from tfshrink.training.command import load_config
from tfshrink.training.settings import TrainSettings

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.py"))
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
    def test_every_config_holds_valid_settings(self):
        for path in CONFIGS:
            values = load_config(str(path))
            settings = TrainSettings(**values).to_json()
            self.assertEqual({name: settings[name] for name in values}, values)

    def test_every_configs_docstring_gives_its_command(self):
        for path in CONFIGS:
            text = path.read_text()
            self.assertStartsWith(text, '"""', path.name)
            manual = text.split('"""')[1]
            self.assertIn(f"--config=configs/{path.name}", manual)


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
