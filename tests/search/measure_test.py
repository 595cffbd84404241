import contextlib
import io
import json
import os
import pathlib

from absl.testing import parameterized

from tests.search import subjects
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.plan import Plan
from tfshrink.search import command
from tfshrink.search.measure import sensitivity
from tfshrink.search.search_report import print_sensitivity
from tfshrink.search.settings import SearchSettings


class MeasureTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.enterContext(contextlib.chdir(self.folder))
        cache = self.create_tempdir("cache").full_path
        self.enterContext(subjects.own_cache(cache))

    def test_result_lies_here_and_is_shown(self):
        found, path = sensitivity(
            subjects.subject(), bits="8,3", pruning=".5,2of4", estimate=False
        )
        self.assertCountEqual(
            os.listdir(), ["sensitivity.json", "sensitivity.png"]
        )
        self.assertIsNone(found.info["correlation"])
        pruned = [
            (row["pruning"], row["sparsity"])
            for row in found.rows
            if row["pruning"]
        ]
        self.assertEqual(pruned, [(0.5, "unstructured"), (0.5, "2:4")] * 8)
        self.assertEqual(found.identity, subjects.evaluator().identity)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            print_sensitivity(found, path, "runs/own")
        worst = max(found.rows, key=lambda row: row["kl"])
        first = [
            line for line in out.getvalue().splitlines() if "block_" in line
        ][0]
        self.assertIn(worst["group"], first)
        self.assertIn("bin/search --workdir=runs/own", out.getvalue())
        self.assertNotIn("Rank correlation", out.getvalue())

    def test_an_earlier_file_is_replaced_only_on_demand(self):
        pathlib.Path("sensitivity.json").write_text("old")
        with self.assertRaisesRegex(UserError, "`output_file` must be new"):
            sensitivity(subjects.subject(), bits="8")
        self.assertEqual(pathlib.Path("sensitivity.json").read_text(), "old")
        sensitivity(
            subjects.subject(), bits="8", estimate=False, overwrite=True
        )
        text = pathlib.Path("sensitivity.json").read_text()
        self.assertLen(json.loads(text)["rows"], 9)

    def test_a_heat_map_does_not_replace_its_numbers(self):
        with self.assertRaisesRegex(UserError, "`output_file` must"):
            sensitivity(
                subjects.subject(),
                bits="8",
                estimate=False,
                output_file="map.png",
            )
        self.assertEqual(os.listdir(), [])

    def test_a_dry_run_says_how_long_and_writes_nothing(self):
        seconds, path = sensitivity(subjects.subject(), dry_run=True)
        self.assertGreater(seconds, 0.0)
        self.assertEqual(path, pathlib.Path("sensitivity.json"))
        self.assertEqual(os.listdir(), [])

    def test_a_dry_run_of_a_search_writes_nothing(self):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            command.run(
                [subjects.subject()],
                {"prompts": 4, "tokens": 32},
                {"results_dir": "found"},
                dry_run=True,
            )
        self.assertIn("9 variables, 4 prompts", out.getvalue())
        self.assertIn("Nothing written", out.getvalue())
        self.assertEqual(os.listdir(), [])

    def test_widths_of_a_run_are_those_it_was_trained_for(self):
        plans = ("8", "4:embedding=4")
        precision = PrecisionConfig(widths=(8, 4), ranks=(2, 4), group=32)
        config = {
            "model": "tiny",
            "precision": precision.to_json(),
            "plans": [Plan.parse(p, layers=2).to_json() for p in plans],
        }
        pathlib.Path("config.json").write_text(json.dumps(config))
        pathlib.Path("checkpoints").mkdir()
        pathlib.Path("checkpoints/final.safetensors").touch()
        own = subjects.subject(workdir=".")
        self.assertEqual(own.trained_widths(), ((8, 4), (8, 4)))
        self.assertEqual(
            subjects.subject().trained_widths(), ((8, 6, 5, 4), (8,))
        )

    @parameterized.parameters(
        ({"bits": "9"}, {}, "`bits`.*bits=9"),
        ({"bits": "eight"}, {}, "`bits` must be bit-widths.*'eight'"),
        ({"pruning": "1.5"}, {}, r"`pruning` must hold levels.*'1.5'"),
        ({"pruning": "2of5"}, {}, r"`pruning` must hold levels.*'2of5'"),
        ({}, {"workdir": "no/run"}, "config.json.*no/run"),
        ({}, {"model": "tini"}, "Did you mean `tiny`"),
        ({}, {"formula": "always(jds <= 0.1)"}, "Did you mean `jsd`"),
    )
    def test_mistake_is_named(self, options, changes, message):
        with self.assertRaisesRegex(UserError, message):
            sensitivity(subjects.subject(**changes), **options)
        self.assertEqual(os.listdir(), [])


class ModelsTest(TestCase):
    """What several models ask for."""

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.enterContext(subjects.own_cache(self.folder / "cache"))

    def run_both(self, *names, **places):
        values = SearchSettings(prompts=4, tokens=32, bits="8,4").to_json()
        places = {"results_dir": str(self.folder / "both"), **places}
        command.run(
            [subjects.subject(model=name) for name in names],
            {**values, "iterations": 2, "seeds": 0},
            places,
            skip_sensitivity=True,
        )

    @parameterized.parameters(
        ({"results_dir": None}, "`results_dir` must be named"),
        ({"output_csv": "front.csv"}, "`models` of several names take no"),
    )
    def test_places_are_of_each(self, places, message):
        with self.assertRaisesRegex(UserError, message):
            self.run_both("tiny", "tiny-gpt2", **places)

    def test_a_mistyped_model_is_found_before_any_search(self):
        with self.assertRaisesRegex(UserError, "Did you mean `tiny`"):
            self.run_both("tiny", "tini")
        self.assertFalse((self.folder / "both").exists())

    def test_one_storage_serves_several_models(self):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            self.run_both(
                "tiny", "tiny-gpt2", storage=str(self.folder / "all.db")
            )
        self.assertIn("2 plans judged", out.getvalue())
        self.assertTrue((self.folder / "both/tiny-gpt2/front.csv").exists())
