import os
import signal
import subprocess
import sys
import time

from absl.testing import parameterized

from tests.test_case import TestCase

BINARY = '''
"""Bends a spoon.

Examples:
  bin/bend --style=slow
"""

import sys

from absl import flags

from tfshrink import cli
from tfshrink.errors import UserError
from tfshrink.files import write_json

cli.define_model_flags()
cli.define_plan_flag("8,4,2")
cli.define_data_flags()
cli.define_workdir()
cli.define_output_flags()
with cli.flag_group("Bending"):
    flags.DEFINE_enum("style", "slow", ["slow", "fast"], "How to bend.")
    flags.DEFINE_float("force", 1.0, "Newtons.", lower_bound=0)
flags.DEFINE_string("do", None, "What happens.")
flags.register_validator("do", lambda x: x != "no", "Not this.")


def main(arguments):
    import os
    do = flags.FLAGS.do
    if do == "mistake":
        raise UserError("`--spoon` must be\\nmetal. Received: 'wood'")
    if do == "missing":
        open("no/such/file")
    if do == "interrupt":
        raise KeyboardInterrupt
    if do == "wait":
        import time
        print("waiting", flush=True)
        time.sleep(60)
    if do == "defect":
        raise ValueError("a defect")
    if do == "tensorflow_disk":
        raise RuntimeError("RESOURCE: x; No space left on device")
    if do == "gpus":
        print(os.environ.get("CUDA_VISIBLE_DEVICES"))
    if flags.FLAGS.json:
        write_json(flags.FLAGS.json, {"plan": flags.FLAGS.plan})
    print("plan", flags.FLAGS.plan)


cli.run(main)
'''


class CliTest(TestCase):
    def setUp(self):
        super().setUp()
        self.binary = self.create_tempfile("bend", BINARY.lstrip()).full_path

    def _run(self, *arguments, **kwargs):
        return subprocess.run(
            [sys.executable, self.binary, *arguments],
            text=True,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
            timeout=60,
            **{"stdout": subprocess.PIPE, **kwargs},
        )

    def test_help_is_a_manual_and_comes_at_once(self):
        start = time.monotonic()
        done = self._run("--help")
        self.assertLess(time.monotonic() - start, 3)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertStartsWith(done.stdout, "Bends a spoon.\n\nExamples:")
        for text in (
            "\nModel:\n  --model  ",
            "\n  --[no]cpu  ",
            "\n  --bitmap            Alias for --plan.",
            "\nBending:\n  --style             How to bend. One of: slow,",
            "Default: 8,4,2.",
            "\nOther:\n  --do ",
        ):
            self.assertIn(text, done.stdout)
        self.assertLess(max(map(len, done.stdout.splitlines())), 80)
        self.assertNotIn("logtostderr", done.stdout)

    @parameterized.parameters(
        ("--modle=x", "`--modle` is no flag of this command. Did you mean "),
        ("--zzz", "`--zzz` is no flag of this command. --help lists them."),
        ("--style=fsat", "one of fast, slow. Received: 'fsat'. Did you mean"),
        ("--limit=0", "`--limit` must be a positive integer. Received: 0"),
        ("--limit=many", "`--limit` must be a positive integer. Received: m"),
        ("--force=x", "`--force` must be a non-negative number. Received: x"),
        ("--cpu=perhaps", "`--cpu` must be true or false. Received: perhaps"),
        ("--limit", "Missing value for flag --limit"),
        ("--do=no", "`--do`: Not this. Received: no"),
        ("style=fast", "must be written --name=value. Received: 'style=fast'"),
        ("--do=mistake", "`--spoon` must be metal. Received: 'wood'"),
        ("--do=missing", "no/such/file: No such file or directory"),
        ("--do=tensorflow_disk", "No space left on device"),
        ("--json=/dev/null/x", "/dev/null"),
    )
    def test_a_mistake_is_one_line(self, argument, expected):
        done = self._run(argument)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout, "")
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertStartsWith(done.stderr, "bend: ")
        self.assertIn(expected, done.stderr)

    def test_an_interrupt_names_resume(self):
        done = self._run("--do=interrupt")
        self.assertEqual(done.returncode, 130)
        self.assertEqual(
            done.stderr, "bend: interrupted; --resume continues it\n"
        )

    def test_a_real_interrupt_ends_at_once(self):
        with subprocess.Popen(
            [sys.executable, self.binary, "--do=wait"],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        ) as process:
            self.assertEqual(process.stdout.readline(), "waiting\n")
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=10)
        self.assertEqual(process.returncode, 130)
        self.assertEqual(errors.count("\n"), 1, errors)

    def test_a_defect_keeps_its_traceback(self):
        done = self._run("--do=defect")
        self.assertEqual(done.returncode, 1)
        self.assertIn("Traceback", done.stderr)

    def test_success(self):
        done = self._run("--bitmap=4,4", "--style=fast")
        self.assertEqual(
            (done.returncode, done.stdout, done.stderr), (0, "plan 4,4\n", "")
        )

    def test_cpu_hides_the_gpus(self):
        self.assertStartsWith(self._run("--cpu", "--do=gpus").stdout, "-1\n")

    def test_a_full_disk_under_standard_output_is_one_line(self):
        with open("/dev/full", "w") as full:
            done = self._run(stdout=full)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, "bend: No space left on device\n")
