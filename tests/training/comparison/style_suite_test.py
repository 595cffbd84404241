import contextlib
import io
import json
import pathlib
import unittest
from unittest import mock

from absl.testing import parameterized

from tests.test_case import ON_TENSORFLOW
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.models.checkpoint import load_tensors
from tfshrink.training import train as train_module
from tfshrink.training.comparison.estimate import estimate
from tfshrink.training.comparison.estimate import print_estimate
from tfshrink.training.comparison.report import print_styles
from tfshrink.training.comparison.style_suite import StyleSuite

SMALL = {
    "group": 32,
    "ranks": "4",
    "bank": "none",
    "init": "mse",
    "data": "pydoc+generated",
    "generated_rows": 2,
    "limit": 4,
    "batch_size": 2,
    "context": 16,
    "dtype": "float32",
    "learning_rate": 0.03,
    "use_tensorboard": False,
}


def suite(folder, **options):
    return StyleSuite(
        **{
            "model": "tiny",
            "styles": ["two_phase"],
            "seeds": [3],
            "steps": 4,
            "plan": "2",
            "limit": 2,
            "workdir": str(folder),
            "config": SMALL,
            **options,
        }
    )


class MistakesTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    @parameterized.parameters(
        ({"seeds": [-1]}, "`seeds` must be"),
        ({"model": "tiny-ultra"}, "`model` must be one"),
        ({"config": {**SMALL, "style": "spnet"}}, "must not set style"),
        ({"config": {**SMALL, "kv": "int8"}}, "must not set kv"),
        ({"config": {**SMALL, "static_steps": 3}}, "`static_steps` must be"),
        ({"plan": "9"}, "between 2 and 8"),
        ({"workdir": "runs/a+b"}, "neither"),
    )
    def test_mistake_is_named_before_anything_runs(self, options, message):
        with self.assertRaisesRegex(UserError, message):
            suite(self.folder, **options)
        self.assertEmpty(list(self.folder.iterdir()))

    def test_a_folder_of_something_else_is_refused(self):
        (self.folder / "note.txt").write_text("mine")
        with self.assertRaisesRegex(UserError, "holds something else"):
            suite(self.folder).run(speed=False, attack=False)
        self.assertLen(list(self.folder.iterdir()), 1)


@unittest.skipUnless(ON_TENSORFLOW, "one backend is enough")
class StyleSuiteTest(TestCase):
    def test_styles_begin_alike_and_nothing_is_run_twice(self):
        folder = pathlib.Path(self.create_tempdir().full_path, "styles")
        seen = []
        found = suite(folder).run(
            speed=False, attack=False, on_results=seen.append
        )
        self.assertEqual([r["finished"] for r in seen], [1, 2, 3, 3])
        rows = {row["style"]: row for row in found["rows"]}
        self.assertEqual(list(rows), ["start", "two_phase"])
        ratios = [r["perplexity_ratio"]["mean"] for r in rows.values()]
        self.assertLen(set(ratios), 2)
        for row in rows.values():
            self.assertEqual(row["better_than"], [])  # of one seed
        self.assertEqual(rows["two_phase"]["updates"], 4)
        self._check_starts(folder / "seed-3")
        with contextlib.redirect_stdout(io.StringIO()) as out:
            print_styles(json.loads(json.dumps(found)))
        self.assertIn("two_phase", out.getvalue())
        with mock.patch.object(train_module, "train", side_effect=ValueError):
            again = suite(folder).run(speed=False, attack=False)
            self.assertEqual(again["rows"], found["rows"])
            with self.assertRaisesRegex(UserError, "same steps, 6"):
                suite(folder, steps=6).run(speed=False, attack=False)

    def _check_starts(self, folder):
        def tensors(run, name):
            path = folder / run / "checkpoints" / f"{name}.safetensors"
            return load_tensors(path)[0]

        start = tensors("start", "start")
        first = tensors("two_phase-cpt", "final")
        for run, wanted in (
            ("two_phase-cpt", start),
            ("two_phase-1", first),
        ):
            own = tensors(run, "start")
            self.assertEqual(set(own), set(wanted))
            for name, value in wanted.items():
                self.assertAllEqual(own[name], value)
            config = json.loads((folder / run / "config.json").read_text())
            text = f"pydoc+{folder}/start/generated.jsonl"
            self.assertEqual(config["settings"]["data"], text)
        moved = [k for k, v in start.items() if (first[k] != v).any()]
        self.assertNotEmpty(moved)

    def test_an_estimate_multiplies_what_was_measured(self):
        one = suite("unused", styles=["static"], seeds=[0, 1])
        found = estimate(one)
        self.assertEqual((found["runs"], found["passes"]), (4, 8))
        self.assertEqual((found["judgements"], found["windows"]), (8, 2))
        expected = 8 * found["seconds_per_pass"]
        expected += 16 * found["seconds_per_window"]
        self.assertAllClose(found["seconds"], expected)
        with mock.patch(
            "tfshrink.training.comparison.estimate.estimate",
            return_value=found,
        ):
            with contextlib.redirect_stdout(io.StringIO()) as out:
                print_estimate(one)
        self.assertIn("4 runs over 2 seeds: 8 passes", out.getvalue())
        self.assertFalse(pathlib.Path("unused").exists())
