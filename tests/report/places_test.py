import json
import pathlib

from absl.testing import parameterized

from tests.report import result_files as files
from tests.test_case import TestCase
from tfshrink.report.models import by_model
from tfshrink.report.places import read_place

# Each kind of file: what it is called, and its figures.
WANTED = {
    "sensitivity.json": ("Sensitivity", ["sensitivity"]),
    "certificate.json": (
        "Certificate",
        ["margins_by_property", "margins_over_tokens_4"],
    ),
    "study.json": (
        "Exits",
        ["exits", "exit_histogram", "calibration", "positions"],
    ),
    "policies.json": ("Exit policies", ["exit_histogram"]),
    "promise.json": ("Exit certificate", ["exit_histogram"]),
    "kv.json": ("K/V cache", ["kv"]),
    "basis.json": ("Basis", ["compaction"]),
    "benchmark.json": ("Benchmark", ["speed"]),
    "analysis.json": ("Analysis", ["robustness"]),
}


class PlacesTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def read(self, place):
        """Sections; nothing was wrong."""
        sections, problems = read_place(place)
        self.assertEqual(problems, [])
        return sections

    def wrong(self, place):
        """The one thing that is wrong."""
        _, (problem,) = read_place(place)
        self.assertIn(str(place), problem)
        return problem

    @parameterized.parameters(*WANTED)
    def test_files_have_sections(self, name):
        path = files.write(self.folder / name, files.FILES[name]())
        (section,) = self.read(path)
        kind, charts = WANTED[name]
        self.assertEqual(section.kind, kind)
        self.assertEqual([chart.name for chart in section.charts], charts)
        self.assertEqual(section.source, str(path))
        self.assertNotEmpty(section.tables)
        values = files.FILES[name]()
        self.assertEqual(section.command, values.get("command"))
        self.assertEqual(section.environment, values.get("environment"))
        wanted = None if name == "benchmark.json" else "tiny"
        self.assertEqual(section.model, wanted)

    def test_an_analysis_says_what_to_do_next(self):
        path = files.write(self.folder / "analysis_results.json", {})
        files.write(path, files.analysis())
        (section,) = self.read(self.folder)
        first = section.tables[0]
        self.assertEqual(first.caption, "What to do next")
        self.assertIn("It stands on 10 tokens.", first.rows[0])
        titles = [table.caption.partition(".")[0] for table in section.tables]
        self.assertIn("Performance", titles)
        self.assertIn("Robustness", titles)

    def test_a_run_has_its_training_and_its_plans(self):
        training, plans = self.read(files.run_folder(self.folder / "run"))
        self.assertEqual(
            (training.kind, plans.kind), ("Training", "Plans judged")
        )
        self.assertEqual(training.command, "bin/evaluate --model=tiny")
        self.assertIn("3 of 3 steps, 300 tokens; 50", training.lines[0])
        self.assertIn("style spnet", training.lines[1])
        self.assertEqual([c.name for c in plans.charts], ["plans", "bit_map"])
        self.assertEqual(plans.tables[0].rows[2][0], "4")

    def test_exits_of_a_run_are_part_of_its_training(self):
        run = files.run_folder(self.folder / "run")
        config = {
            **files.CONFIG,
            "settings": {"exits": "auto", "total_steps": 3},
            "exits": {"layers": [3, 5]},
        }
        files.write(run / "config.json", config)
        learned = {"recall": [0.99, 1.0], "agreement": [0.5, 0.75]}
        files.write(run / "exits.json", {**learned, "tokens": 100})
        training, _ = self.read(run)
        rows = training.tables[0].rows
        self.assertEqual(
            rows, [["3", "50.0%", "99.0%"], ["5", "75.0%", "100.0%"]]
        )

    def test_a_search_shows_all_that_was_judged(self):
        (section,) = self.read(files.search_folder(self.folder / "found"))
        names = [chart.name for chart in section.charts]
        self.assertEqual(names, ["front", "margins_by_property", "bit_map"])
        _, tips = section.charts[0].draw()
        self.assertLen(tips, 5)  # three judged, two of them on the front again
        self.assertIn("c, 4.00 bits\nMB: 0.3\n", tips[0].text)

    def test_a_search_without_its_log_says_so(self):
        folder = files.search_folder(self.folder / "found")
        (folder / "log.csv").unlink()
        (section,) = self.read(folder)
        self.assertIn("log.csv is missing", section.lines[-1])
        _, tips = section.charts[0].draw()
        self.assertLen(tips, 4)

    def test_margins_of_tokens_may_be_missing(self):
        values = files.certificate()
        del values["plans"][0]["worst"][0]["over_tokens"]
        path = files.write(self.folder / "old.json", values)
        (section,) = self.read(path)
        self.assertLen(section.charts, 1)
        self.assertIn("no margins of single tokens", section.lines[-1])

    def test_what_is_not_quantized_has_no_bit_map(self):
        values = files.results(names=("8",))
        values["plans"][0]["plan"]["bits"] = dict.fromkeys(files.NAMES, 32)
        (section,) = self.read(files.write(self.folder / "r.json", values))
        self.assertEmpty(section.charts)

    def test_rows_may_be_means_with_their_spread(self):
        ratio = {"mean": 1.25, "spread": 0.031, "values": [1.2, 1.3]}
        rows = [{"style": "spnet", "plan": "4", "perplexity_ratio": ratio}]
        values = {"suite": "styles", "model": "tiny", "rows": rows}
        path = files.write(self.folder / "styles.json", values)
        (section,) = self.read(path)
        self.assertEqual(section.tables[0].rows[0][2], "1.25 ± 0.031")
        _, (tip,) = section.charts[0].draw()
        self.assertIn("spnet 4\n1.25 ± 0.031 perplexity ratio", tip.text)

    def test_what_is_missing_is_named(self):
        self.assertIn("does not exist", self.wrong(self.folder / "nowhere"))
        self.assertIn("none of them", self.wrong(self.folder))

    def test_an_unfinished_run_shows_its_training(self):
        run = files.run_folder(self.folder / "run")
        (run / "results.json").unlink()
        sections, (problem,) = read_place(run)
        self.assertEqual([own.kind for own in sections], ["Training"])
        self.assertIn("must hold results.json", problem)

    @parameterized.parameters(
        ("results.json", "{", "JSONDecodeError"),
        ("results.json", "[]", "must hold a JSON object. Received: list"),
        ("results.json", '{"model": "x"}', "must be results, a search"),
        ("config.json", "{", "JSONDecodeError"),
        ("config.json", "{}", "model"),
        ("metrics.jsonl", "", "losses of at least one step"),
        ("metrics.jsonl", "nonsense\n", "JSONDecodeError"),
        ("metrics.jsonl", "[1]\n", "TypeError"),
        ("metrics.jsonl", '{"step": 1, "losses": {"8": "x"}}\n', "TypeError"),
    )
    def test_a_broken_file_is_named_and_the_rest_shown(self, name, text, words):
        run = files.run_folder(self.folder / "run")
        (run / name).write_text(text)
        sections, problems = read_place(run)
        self.assertLen(sections, 1)
        (problem,) = problems
        self.assertIn(str(run / name), problem)
        self.assertIn(words, problem)

    def test_a_line_that_a_killed_run_cut_short_is_left_out(self):
        run = files.run_folder(self.folder / "run")
        with open(run / "metrics.jsonl", "a") as file:
            file.write('{"step": 4, "lo')
        training, _ = self.read(run)
        _, tips = training.charts[0].draw()
        self.assertLen(tips, 6)

    @parameterized.parameters("certificate.json", "sensitivity.json")
    def test_another_version_is_refused(self, name):
        values = {**files.FILES[name](), "version": 2}
        path = files.write(self.folder / name, values)
        self.assertIn("of version 1", self.wrong(path))
        self.assertIn("Received: version 2", self.wrong(path))

    def test_a_plan_of_another_version_is_refused(self):
        values = files.results()
        values["plans"][0]["plan"]["version"] = 2
        path = files.write(self.folder / "results.json", values)
        self.assertIn("version", self.wrong(path))

    @parameterized.parameters(*sorted(WANTED))
    def test_no_damage_is_a_crash(self, name):
        whole = files.FILES[name]()
        for place, key in enumerate(whole):
            values = json.loads(json.dumps(whole))
            values[key] = "nonsense"
            if place % 2:
                del values[key]
            path = files.write(self.folder / name, values)
            sections, problems = read_place(path)
            self.assertEqual(len(sections) + len(problems), 1, key)
            by_model(sections)
            for problem in problems:
                self.assertIn(str(path), problem)
