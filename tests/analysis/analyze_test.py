import contextlib
import io
import json
import os
import pathlib
from unittest import mock

from absl.testing import parameterized

from tests import forks
from tests.analysis import subjects
from tests.analysis.runs import write_log
from tests.evaluation.evaluate_test import write_run
from tests.test_case import TestCase
from tfshrink.analysis import analyze as module
from tfshrink.analysis.analyze import analyze
from tfshrink.analysis.analyze import failures
from tfshrink.analysis.analyze_report import print_analysis
from tfshrink.analysis.results import build_analysis
from tfshrink.analysis.results import FILE
from tfshrink.analysis.results import read_analysis
from tfshrink.errors import UserError
from tfshrink.files import write_json

ROOT = pathlib.Path(__file__).parents[2]
CYCLES = ("cycles", "insights")  # what needs no model


class AnalyzeTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.output = self.folder / "report"

    def analyze(self, *names, **options):
        options = {"output": self.output, "parts": CYCLES, **options}
        return analyze([self.folder / name for name in names], **options)

    def write_two(self):
        for name in ("one", "two"):
            write_log(self.folder / name, style="switch", total_steps=8)

    def test_runs_stand_side_by_side(self):
        self.write_two()
        found = self.analyze("one", "two", json=self.folder / "copy.json")
        names = [subject["name"] for subject in found["subjects"]]
        self.assertEqual(names, ["one", "two"])
        self.assertEqual(failures(found), [])
        copy = json.loads((self.folder / "copy.json").read_text())
        self.assertEqual(copy, read_analysis(self.output))
        text = (self.output / "tables" / "cycles.md").read_text()
        self.assertIn("| two | 1 | 1 | 8 | no |", text)

    def test_what_cannot_be_read_is_named_and_the_rest_reported(self):
        self.write_two()
        (self.folder / "two/checkpoints/final.safetensors").unlink()
        found = self.analyze("one", "two", "gone")
        self.assertLen(found["subjects"], 1)
        partial, gone = found["skipped"]
        self.assertRegex(partial["reason"], "finished run")
        self.assertRegex(gone["reason"], "gone, where nothing is")
        self.assertLen(failures(found), 2)
        text = (self.output / "summary_report.md").read_text()
        self.assertIn("two was skipped: `--workdir` must hold a fin", text)

    def test_strict_fails_behind_the_report(self):
        self.write_two()
        found = self.analyze("one", "gone")
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            print_analysis(found, self.output)
            with self.assertRaisesRegex(UserError, "--strict.*gone was skip"):
                print_analysis(found, self.output, strict=True)
        self.assertIn("gone, where nothing is", shown.getvalue())

    def test_a_part_that_fails_counts_for_strict(self):
        write_log(self.folder / "one").write_text("")
        found = self.analyze("one")
        self.assertEqual(failures(found), ["one has no cycles"])

    def test_nothing_to_report_writes_nothing(self):
        with self.assertRaisesRegex(UserError, "No place.*gone.*nothing is"):
            self.analyze("gone")
        self.assertEqual(os.listdir(self.folder), [])

    def test_subjects_of_one_name_are_told_apart(self):
        for name in ("a/run", "b/run"):
            write_log(self.folder / name, style="switch", total_steps=8)
        found = self.analyze("a/run", "b/run")
        names = [subject["name"] for subject in found["subjects"]]
        self.assertEqual(
            names, [str(self.folder / "a/run"), str(self.folder / "b/run")]
        )

    def test_earlier_analyses_are_set_beside(self):
        self.write_two()
        own = build_analysis([subjects.subject()], [], 1.0)
        own["environment"]["device"] = "an abacus"
        write_json(self.folder / "old" / FILE, own)
        found = self.analyze("one", "old")
        # Both are called "one": their paths tell them apart.
        names = [subject["name"] for subject in found["subjects"]]
        self.assertEqual(names, [str(self.folder / "one"), "exports/one"])
        (note,) = found["subjects"][1]["notes"]
        self.assertIn("another machine", note["reason"])
        self.assertIn("an abacus", note["reason"])
        self.assertEqual(failures(found), [])

    def test_an_analysis_of_another_version_is_skipped(self):
        self.write_two()
        own = {**build_analysis([subjects.subject()], [], 1.0), "version": 0}
        write_json(self.folder / "old" / FILE, own)
        found = self.analyze("one", "old")
        self.assertLen(found["subjects"], 1)
        self.assertRegex(found["skipped"][0]["reason"], "version 1.*version 0")

    @parameterized.parameters(
        ({"parts": ()}, "parts"),
        ({"parts": ("cycle",)}, "Did you mean `cycles`"),
        ({"json": "."}, "`json` must be a file"),
        ({"limt": 1}, "Did you mean `limit`"),
    )
    def test_mistakes_come_before_the_work(self, options, message):
        self.write_two()
        with mock.patch.object(module.ModelAnalyzer, "analyze") as work:
            with self.assertRaisesRegex(UserError, message):
                self.analyze("one", **options)
        work.assert_not_called()
        self.assertFalse(self.output.exists())

    def test_an_earlier_report_stays(self):
        self.write_two()
        self.analyze("one")
        before = (self.output / FILE).read_text()
        with self.assertRaisesRegex(UserError, "--overwrite"):
            self.analyze("two")
        self.assertEqual((self.output / FILE).read_text(), before)
        self.analyze("two", overwrite=True)
        self.assertNotEqual((self.output / FILE).read_text(), before)

    def test_no_place(self):
        with self.assertRaisesRegex(UserError, "must be named.*none"):
            analyze([])


class BinaryTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def run_binary(self, *arguments):
        return forks.run([ROOT / "bin/analyze", *arguments], cwd=self.folder)

    def test_help_shows_three_examples(self):
        done = self.run_binary("--help")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stdout.count("\n  bin/analyze "), 3)
        for flag in ("--workdir", "--plan", "--parts", "strict", "--output"):
            self.assertIn(flag, done.stdout)

    def test_a_run_becomes_a_report(self):
        write_run(self.folder / "runs/own-1", gain=0.1)
        done = self.run_binary(
            "runs/own-1",
            "runs/gone",
            "--parts=performance,bits,insights",
            "--limit=2",
            "--context=32",
            "--dtype=float32",
            "--repeats=2",
            "--new_tokens=4",
            "--strict",
        )
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("`--strict` wants everything", done.stderr)
        self.assertIn("full precision", done.stdout)
        self.assertIn("Skipped runs/gone", done.stdout)
        report = self.folder / "out/analysis"
        (found,) = read_analysis(report)["subjects"]
        (row,) = found["performance"]["plans"]
        self.assertEqual((row["name"], row["tokens"]), ("4", 62))
        self.assertIn("too_little_text", (report / "insights.md").read_text())
        again = self.run_binary("runs/own-1")
        self.assertEqual(again.returncode, 1)
        self.assertIn("--overwrite", again.stderr)
        self.assertLen(again.stderr.splitlines(), 1)

    def test_nothing_named(self):
        done = self.run_binary()
        self.assertEqual(done.returncode, 1)
        self.assertIn("a model must be named", done.stderr)
