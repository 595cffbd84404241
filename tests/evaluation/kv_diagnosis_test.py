import contextlib
import io
import json
import pathlib

import numpy as np
from absl.testing import parameterized

from tests import forks
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.evaluation.kv_diagnosis import diagnose
from tfshrink.evaluation.kv_diagnosis import summary
from tfshrink.evaluation.kv_diagnosis_report import print_diagnosis
from tfshrink.evaluation.kv_heads import blocks_of
from tfshrink.evaluation.kv_heads import kv_heads
from tfshrink.evaluation.kv_heads import standardised
from tfshrink.models.load import load_model
from tfshrink.models.sources import open_source
from tfshrink.ops.basis_choice import NAMES
from tfshrink.ops.basis_quality import coding_gain
from tfshrink.ops.basis_quality import coefficient_energies
from tfshrink.ops.transforms import dct_basis

ROOT = pathlib.Path(__file__).parents[2]
SMALL = {"model": "tiny", "block": 16, "tokens": 256}
TEXT = "The cat sat on the mat, and the dog lay beside it. " * 40


class DiagnoseTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.text = self.folder / "text.txt"
        self.text.write_text(TEXT)

    def diagnose(self, basis, **options):
        options = {**SMALL, "data": str(self.text), **options}
        return diagnose(basis, output_dir=self.folder / "out", **options)

    def test_a_model_is_measured_head_by_head(self):
        found = self.diagnose("dct")
        written = json.loads((self.folder / "out/dct.json").read_text())
        self.assertEqual(written["rows"], found["rows"])
        for name in ("dct.png", "dct_compaction.png"):
            self.assertTrue((self.folder / "out" / name).exists())
        self.assertLen(found["rows"], 2 * 2 * 3)  # layers, heads, kinds
        for row in found["rows"]:
            self.assertBetween(row["first"], 0.0, row["best"])
            self.assertBetween(row["bandwidth_95"], 0.0, row["bandwidth_99"])
            self.assertCountEqual(row["bases"], NAMES)
            most = max(own["best"] for own in row["bases"].values())
            self.assertEqual(row["bases"][row["picked"]]["best"], most)
            self.assertNotEqual(row["picked_fixed"], "pca")
            # The even extension of a DCT is the DCT.
            left = row["left"]
            self.assertAllClose(left["even"], left["none"], atol=1e-5)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            print_diagnosis(found)
        for text in ("orthonormality", "keys with RoPE", "hadamard", ".png"):
            self.assertIn(text, printed.getvalue())

    def test_gain_is_that_of_the_keys_themselves(self):
        found = self.diagnose("dct", layers="1")
        source = open_source("tiny")
        tokens = source.tokenizer().encode(TEXT, add_special_tokens=False)
        tokens = np.array([tokens[:256]], "int32")
        _, second = kv_heads(load_model(source), tokens)
        keys = np.moveaxis(second["keys"][:, 4:], 2, 0)
        blocks = blocks_of(standardised(keys)[1], 16)[1::2]
        wanted = coding_gain(coefficient_energies(blocks, dct_basis(16)))
        (row,) = [
            row
            for row in found["rows"]
            if row["kind"] == "keys" and row["head"] == 1
        ]
        self.assertEqual(row["layer"], 1)
        self.assertAllClose(row["coding_gain"], wanted, rtol=1e-3)

    def test_components_are_found_on_the_data(self):
        found = self.diagnose("pca", layers="0", block=24)
        self.assertLess(found["figures"]["orthonormality_error"], 1e-9)
        self.assertNotIn("hadamard", found["rows"][0]["bases"])
        self.assertEqual(found["rows"][0]["left"], {})

    def test_of_the_basis_alone(self):
        found = self.diagnose("pswf", measure=False, block=64)
        self.assertNotIn("rows", found)
        figures = found["figures"]
        self.assertEqual(figures["time_bandwidth"], 8.0)
        self.assertLess(figures["sampled_condition_useful"], 1.01)
        self.assertGreater(figures["sampled_condition_all"], 1e12)
        names = sorted(path.name for path in self.folder.glob("out/*"))
        self.assertEqual(names, ["pswf.json", "pswf.png"])
        with self.assertRaisesRegex(UserError, "overwrite. Received: .*pswf"):
            self.diagnose("pswf", measure=False)
        again = self.diagnose("pswf", measure=False, overwrite=True)
        self.assertEqual(again["block"], 16)

    @parameterized.parameters(
        ("dtc", {}, "`basis` must be one of.*Did you mean `dct`"),
        ("dct", {"block": 4}, "`samples` must be at least 8. Received: 4"),
        ("dct", {"block": 256}, "`block` must be between 8 and 128"),
        ("hadamard", {"block": 24}, "power of two. Received: 24"),
        ("dct", {"bandwidth": 0.7}, "`bandwidth` must be.*Received: 0.7"),
        ("dct", {"keep": 0.0}, "`keep` must be above 0.*Received: 0.0"),
        ("pca", {"measure": False}, "`measure` must be on for pca"),
        ("dct", {"tokens": 30}, "`tokens` and.*at least 36.*Received: 30"),
        ("dct", {"layers": "2"}, "layers must be below 2"),
    )
    def test_mistake_is_named(self, basis, options, message):
        with self.assertRaisesRegex(UserError, message):
            self.diagnose(basis, **options)
        self.assertFalse((self.folder / "out").exists())

    def test_summary_by_hand(self):
        rows = [
            {"layer": 0, "kind": "keys", "first": first, "picked": picked}
            for first, picked in ((0.5, "dct"), (0.7, "pca"), (0.9, "dct"))
        ]
        for row in rows:
            row["picked_fixed"] = "dct"
            row["bases"] = {"dct": {"best": row["first"] + 0.05}}
        found = summary(rows)["keys"]
        self.assertAllClose(found["first"], 0.7)
        self.assertAllClose(found["bases"]["dct"]["best"], 0.75)
        self.assertEqual(found["picked"], {"dct": 2, "pca": 1})
        self.assertEqual(found["heads"], 3)


class BinaryTest(TestCase):
    def run_binary(self, *arguments):
        return forks.run(
            [ROOT / "bin/diagnose", *arguments],
            cwd=self.create_tempdir().full_path,
        )

    def test_help_and_list(self):
        done = self.run_binary("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.count("\n  bin/diagnose "), 3)
        self.assertLess(max(map(len, done.stdout.splitlines())), 80)
        listed = self.run_binary("--list").stdout.split()
        self.assertEqual(listed, sorted([*NAMES, "exits"]))

    def test_of_the_basis_alone(self):
        done = self.run_binary("dpss", "--nomeasure", "--block=16")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("time-bandwidth", done.stdout)
        self.assertIn("diagnosis/dpss.json", done.stdout)

    @parameterized.parameters(
        ("", "One basis must be named, or exits: dct,"),
        ("dct pswf", "Received: dct pswf"),
        ("dtc", "Did you mean `dct`"),
        ("dct --blok=4", "Did you mean --block?"),
    )
    def test_a_mistake_is_one_line(self, arguments, message):
        done = self.run_binary(*arguments.split())
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertLen(done.stderr.splitlines(), 1)
        self.assertIn(message, done.stderr)
