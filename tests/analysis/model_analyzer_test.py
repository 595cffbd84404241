import json
import os
import pathlib
import shutil
import tempfile
import unittest
from unittest import mock

from tests.analysis.runs import config
from tests.analysis.runs import write_log
from tests.analysis.runs import write_metrics
from tests.evaluation.evaluate_test import write_run
from tests.search.subjects import own_cache
from tests.test_case import ON_TENSORFLOW
from tests.test_case import TestCase
from tfshrink.analysis import bit_widths
from tfshrink.analysis.model_analyzer import ModelAnalyzer
from tfshrink.analysis.settings import AnalysisSettings
from tfshrink.errors import UserError
from tfshrink.evaluation.evaluate import evaluate
from tfshrink.plan import Plan

SMALL = {
    "limit": 3,
    "context": 64,
    "dtype": "float32",
    "repeats": 2,
    "new_tokens": 4,
    "prompts": 2,
    "robustness_limit": 2,
}


def write_two_plans(folder):
    """A run of `tiny` with plans of 8 and 4 bits, and a log of `switch`."""
    own = config("8", "4", style="switch", switch_interval=1, total_steps=8)
    write_run(folder, **own)
    write_metrics(folder, [{"8": 1.0}, {"4": 2.0}] * 4)


@unittest.skipUnless(ON_TENSORFLOW, "JAX compiles each model for long")
class ModelAnalyzerTest(TestCase):
    """One run, measured once for all that is asserted."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.root = pathlib.Path(folder)
        write_two_plans(cls.root / "own-1")
        cls.analyzer = ModelAnalyzer(cls.root / "own-1", **SMALL)
        with own_cache(cls.root / "cache"):
            cls.results = cls.analyzer.analyze(
                ("performance", "bits", "cycles", "insights")
            )

    def test_quality_is_that_of_bin_evaluate(self):
        found = evaluate(
            workdir=[str(self.root / "own-1")],
            context=64,
            limit=3,
            json=str(self.root / "found.json"),
        )
        own = self.results["performance"]
        self.assertAllClose(
            own["reference"]["perplexity"], found["reference"]["perplexity"]
        )
        names = ("perplexity_ratio", "top5_accuracy", "bytes", "compression")
        for row, other in zip(own["plans"], found["plans"], strict=True):
            self.assertEqual(row["name"], other["name"])
            for name in names:
                self.assertAllClose(row[name], other[name], rtol=1e-5)

    def test_times_have_a_spread_and_blocks_a_name(self):
        own = self.results["performance"]
        self.assertEqual(own["timing"]["warmup"], 1)
        for row in (own["reference"], *own["plans"]):
            latency = row["latency"]
            self.assertEqual(latency["samples"], 2 * 3)
            self.assertGreater(latency["p50"], 0)
            self.assertLessEqual(latency["p50"], latency["p99"])
            self.assertGreaterEqual(
                row["evaluation"]["highest"], row["evaluation"]["lowest"]
            )
            self.assertEqual(
                [part["name"] for part in row["block_seconds"]],
                ["embedding", "block_00", "block_01", "head"],
            )
            self.assertGreater(row["peak_memory"]["host_mb"], 0)

    def test_mixed_plans_are_measured_and_within_budgets(self):
        own = self.results["bits"]
        self.assertNotEmpty(own["mixed"])
        eight, four = own["plans"]
        for row in own["mixed"]:
            self.assertBetween(row["bytes"], four["bytes"], eight["bytes"])
            self.assertGreater(row["perplexity"], 1)
            bits = {group["bits"] for group in row["bit_map"]["groups"]}
            self.assertEqual(bits, {4, 8})
        for row in own["budgets"]:
            self.assertLessEqual(row["bytes"], row["budget_bytes"] + 0.5)
        self.assertEqual(
            own["sensitivity"]["origin"], "2 prompts of pydoc (search)"
        )

    def test_cycles_are_of_the_log(self):
        self.assertEqual(self.results["cycles"]["period"], 2)
        self.assertLen(self.results["cycles"]["cycles"], 4)

    def test_insights_are_of_the_results(self):
        names = [own["rule"] for own in self.results["insights"]]
        self.assertIn("too_little_text", names)
        self.assertEqual(self.results["insights"], self.analyzer.insights())

    def test_report_measures_nothing_twice(self):
        with mock.patch.object(
            type(self.analyzer.measurements), "speeds"
        ) as speeds:
            found = self.analyzer.generate_comprehensive_report(
                self.root / "report", parts=("performance", "bits", "insights")
            )
        speeds.assert_not_called()
        self.assertEqual(
            found["subjects"][0]["performance"]["plans"][0]["name"], "8"
        )
        self.assertContainsSubset(
            ["analysis_results.json", "summary_report.md", "insights.md"],
            os.listdir(self.root / "report"),
        )

    def test_robustness_is_the_studys(self):
        found = self.analyzer.analyze_robustness(
            attacks=("fgsm",), noises=(), context=32, random_precision="none"
        )
        self.assertEqual([row["name"] for row in found["plans"]], ["8", "4"])
        self.assertEqual(found["windows"], 2)
        self.assertIs(self.analyzer.results()["robustness"], found)
        self.analyzer.robustness = None  # what others look at


class LayersTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path

    def test_a_sensitivity_of_another_run_proposes_nothing(self):
        run = pathlib.Path(self.folder, "own-1")
        write_log(run)
        values = {"version": 1, "names": [], "rows": []}
        values["identity"] = {"model": "other", "run": "other"}
        (run / "sensitivity.json").write_text(json.dumps(values))
        analyzer = ModelAnalyzer(run, **SMALL)
        measured = mock.Mock(settings=analyzer.settings)
        row = {"name": "8", "bytes": 1, "perplexity": 2.0}
        measured.row.return_value = row
        found, notes = bit_widths.bit_widths(
            analyzer.target, measured, analyzer.settings
        )
        self.assertEqual(found["mixed"], [])
        self.assertRegex(notes[0], "no mixed plans:.*sensitivity_file.*other")


class MistakesTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def test_unknown_setting_and_part(self):
        with self.assertRaisesRegex(UserError, "Did you mean `limit`"):
            ModelAnalyzer("tiny", limt=3)
        with self.assertRaisesRegex(UserError, "Did you mean `cycles`"):
            ModelAnalyzer("tiny", group=32).analyze(("cycle",))
        with self.assertRaisesRegex(UserError, "repeats.*at least 2"):
            AnalysisSettings(repeats=1)

    def test_a_model_has_no_cycles(self):
        analyzer = ModelAnalyzer("tiny", group=32)
        self.assertIsNone(analyzer.analyze_cycles())
        (note,) = analyzer.notes
        self.assertIn("models have no training log", note["reason"])
        self.assertFalse(note["failed"])

    def test_what_fails_is_noted_and_the_rest_is_measured(self):
        write_log(self.folder / "own-1").write_text("")
        analyzer = ModelAnalyzer(self.folder / "own-1", context=4096)
        found = analyzer.analyze(("performance", "cycles", "insights"))
        self.assertEqual(
            [(note["part"], note["failed"]) for note in found["notes"]],
            [("performance", True), ("cycles", True)],
        )
        self.assertRegex(found["notes"][0]["reason"], "context.*512.*4096")
        self.assertEqual(found["insights"], [])

    def test_plans_with_exits_are_sent_elsewhere(self):
        path = str(self.folder / "plan.json")
        Plan.parse("8", layers=2, group=32, exit="margin:.5:layers=1").save(
            path
        )
        with self.assertRaisesRegex(UserError, "exit"):
            ModelAnalyzer("tiny", plan=path, group=32)
