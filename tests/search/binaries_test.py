import os
import pathlib

from absl.testing import parameterized

from tests import forks
from tests.test_case import TestCase

ROOT = pathlib.Path(__file__).parents[2]
FORMULA = "always(jsd <= )"
FLAGS = {
    "sensitivity": ("--bits", "--pruning", "--output_file", "--dry_run"),
    "search": ("--method", "--budget", "--objectives", "--storage", "--resume"),
    "certify": ("--plan", "--artifact", "--confidence", "--stream"),
}
SHARED = ("--workdir", "--formula", "--relax_thresholds", "--prompts", "--list")


class BinariesTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path

    def run_binary(self, name, *arguments):
        return forks.run([ROOT / "bin" / name, *arguments], cwd=self.folder)

    @parameterized.parameters(*FLAGS)
    def test_help_is_a_manual(self, name):
        done = self.run_binary(name, "--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.count(f"\n  bin/{name} "), 3)
        for flag in (*FLAGS[name], *SHARED):
            self.assertIn(f"{flag} ", done.stdout.replace("[no]", ""))
        self.assertLess(max(map(len, done.stdout.splitlines())), 80)

    @parameterized.parameters(*FLAGS)
    def test_list_names_what_can_be_chosen(self, name):
        done = self.run_binary(name, "--list")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for word in ("jsd", "response_time", "pydoc", "Default: always"):
            self.assertIn(word, done.stdout)

    @parameterized.parameters(
        ("search", "--method=gredy", "Did you mean `greedy`?"),
        ("search", "--sampler=nsga", "Did you mean `nsga2`?"),
        ("search", "--metric=f2", "Did you mean `f1`?"),
        ("search", "--iterations=-1", "non-negative"),
        ("search", "--pruning_scope=all", "must be one of global, layer"),
        ("sensitivity", "--prompts=0", "`--prompts` must be a positive"),
        ("sensitivity", "--scales=mes", "Did you mean `mse`?"),
        ("certify", "--confidance=.9", "Did you mean --confidence?"),
        ("certify", "--model=tiny --workdir=x", "exclude each other"),
    )
    def test_a_mistyped_flag_is_one_line(self, name, arguments, message):
        done = self.run_binary(name, *arguments.split())
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertLen(done.stderr.splitlines(), 1)
        self.assertStartsWith(done.stderr, f"{name}: ")
        self.assertIn(message, done.stderr)

    def test_models_beside_a_run_are_refused(self):
        done = self.run_binary("search", "--models=tiny,tiny", "--workdir=x")
        self.assertEqual(done.returncode, 1)
        self.assertIn("exclude each other", done.stderr)

    def test_a_caret_stands_under_what_cannot_be_read(self):
        done = self.run_binary(
            "search", "--model=tiny", "--group=32", f"--formula={FORMULA}"
        )
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertNotIn("Traceback", done.stderr)
        first, shown, caret = done.stderr.splitlines()
        self.assertStartsWith(first, "search: `formula` must read like")
        place = shown.index(FORMULA) + FORMULA.index(")")
        self.assertEqual(caret.index("^"), place)
        self.assertEqual(os.listdir(self.folder), [])
