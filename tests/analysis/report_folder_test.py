import json
import os
import pathlib
from unittest import mock

from tests.analysis import subjects
from tests.analysis.subjects import bits_row
from tests.analysis.subjects import disturbed
from tests.test_case import TestCase
from tfshrink.analysis import report_folder
from tfshrink.analysis.insights.rules import insights_of
from tfshrink.analysis.report_folder import check_folder
from tfshrink.analysis.report_folder import write_report
from tfshrink.analysis.results import build_analysis
from tfshrink.analysis.results import read_analysis
from tfshrink.errors import UserError

SKIPPED = [{"path": "runs/gone", "reason": "nothing is there"}]


def full_subject(**changes):
    """A subject with something in every part."""
    bits = {
        "plans": [bits_row("8", 8.0, 50_000, 1.001)],
        "mixed": [
            bits_row("mixed-0.040MB", 5.0, 40_000, 1.01, compression=2.5)
        ],
        "sensitivity": {
            "origin": "8 prompts",
            "widths": [
                {
                    "bits": 4,
                    "groups": [{"name": "block_0", "kl": 0.1, "share": 0.3}],
                }
            ],
        },
        "budgets": [{"budget_bytes": 50_000, "name": "8", "bytes": 50_000}],
    }
    rise = (0.5, 0.4, 0.6)
    levels = {name: subjects.figure(9.0, 8, 10) for name in ("perplexity",)}
    clean = {**levels, "token_accuracy": subjects.figure(0.4, 0.3, 0.5)}
    robustness = {
        "reference": {
            "name": "full precision",
            "clean": clean,
            "conditions": [disturbed("pgd", rise)],
        },
        "plans": [
            {
                "name": "8",
                "clean": clean,
                "conditions": [disturbed("pgd", rise, excess=(0.1, 0.0, 0.2))],
            }
        ],
        "random_precision": None,
    }
    cycle = {
        "cycle": 1,
        "first_step": 1,
        "last_step": 4,
        "whole": True,
        "losses": {"8": 0.125, "2": 2.5},
        "counts": {"8": 2, "2": 2},
    }
    cycles = {"cycles": [cycle], "period": 4, "trend": None, "change": {}}
    own = subjects.subject(
        bits=bits, robustness=robustness, cycles=cycles, kind="run"
    )
    return {**own, "insights": insights_of(own), **changes}


class ReportFolderTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path) / "own"
        self.results = build_analysis([full_subject()], SKIPPED, 2.0)

    def read(self, name):
        return (self.folder / name).read_text("utf-8")

    def test_folder_holds_every_part(self):
        write_report(self.folder, self.results)
        names = ("performance", "blocks", "bits", "budgets", "sensitivity")
        names = (*names, "robustness", "cycles")
        self.assertCountEqual(
            os.listdir(self.folder / "tables"),
            [f"{name}.{end}" for name in names for end in ("md", "tex")],
        )
        self.assertEqual(
            json.loads(self.read("plans/one/mixed-0.040MB.json")),
            {"version": 1},
        )
        self.assertLen(read_analysis(self.folder)["subjects"], 1)
        self.assertEqual(os.listdir(self.folder.parent), ["own"])

    def test_summary_says_what_is_missing_and_how_it_was_made(self):
        write_report(self.folder, self.results)
        text = self.read("summary_report.md")
        self.assertIn("runs/gone was skipped: nothing is there", text)
        self.assertIn("one mixed-0.040MB: blocks 5 | embedding 8", text)
        self.assertIn(self.results["command"], text)
        self.assertIn("| 0.1250 | 2.5000 |", text)
        self.assertIn("25.0 (39000 to 41000)".replace("000", ",000"), text)

    def test_insights_name_the_figures_they_rest_on(self):
        write_report(self.folder, self.results)
        text = self.read("insights.md")
        self.assertIn("**smallest_good_plan**", text)
        self.assertIn("--plan=plans/one/mixed-0.040MB.json", text)
        self.assertIn("bytes 40000, perplexity_ratio 1.01", text)

    def test_latex_is_a_table_of_its_own(self):
        write_report(self.folder, self.results)
        lines = self.read("tables/budgets.tex").splitlines()
        self.assertEqual(lines[0], r"\begin{tabular}{rlr}")
        self.assertEqual(lines[2], r"within MB & plan & MB \\")
        self.assertEqual(lines[4], r"0.050 & 8 & 0.050 \\")
        self.assertEqual(lines[-1], r"\end{tabular}")

    def test_subjects_of_other_models_are_labelled(self):
        other = full_subject(
            name="two", model="gpt2", identity={"name": "gpt2"}
        )
        own = build_analysis([full_subject(), other], [], 1.0)
        write_report(self.folder, own)
        text = self.read("summary_report.md")
        self.assertIn("each stands against its own full precision", text)
        self.assertIn("| subject | model | plan |", text)
        self.assertIn("| two | gpt2 | 8 |", text)

    def test_subjects_on_other_texts_are_told_apart(self):
        other = full_subject(name="two")
        other["performance"]["protocol"]["text"] = "def"
        write_report(
            self.folder, build_analysis([full_subject(), other], [], 1)
        )
        text = self.read("summary_report.md")
        self.assertIn("different texts or windows", text)
        self.assertNotIn("| subject | model |", text)

    def test_nothing_half_written_stays(self):
        with mock.patch.object(
            report_folder, "write_plans", side_effect=OSError(28, "full")
        ):
            with self.assertRaises(OSError):
                write_report(self.folder, self.results)
        self.assertEqual(os.listdir(self.folder.parent), [])

    def test_an_earlier_analysis_stays_unless_told(self):
        write_report(self.folder, self.results)
        with self.assertRaisesRegex(UserError, "--overwrite"):
            check_folder(self.folder)
        check_folder(self.folder, overwrite=True)
        write_report(self.folder, build_analysis([full_subject()], [], 1.0))
        self.assertNotIn("runs/gone", self.read("summary_report.md"))

    def test_a_folder_of_something_else_stays(self):
        self.folder.mkdir()
        (self.folder / "mine.txt").write_text("mine")
        with self.assertRaisesRegex(UserError, "something else"):
            check_folder(self.folder, overwrite=True)
