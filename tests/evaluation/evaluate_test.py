import contextlib
import io
import json
import os
import pathlib
import unittest
from unittest import mock

import numpy as np
from absl.testing import parameterized

from tests import forks
from tests.data import squad_files
from tests.test_case import ON_TENSORFLOW
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.evaluation.candidate import model_candidates
from tfshrink.evaluation.evaluate import evaluate
from tfshrink.evaluation.evaluate_report import print_choices
from tfshrink.evaluation.evaluate_report import print_report
from tfshrink.evaluation.results import read_results
from tfshrink.evaluation.results import write_results
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.models.checkpoint import save_model
from tfshrink.models.load import fit_scales
from tfshrink.models.load import load_model
from tfshrink.plan import Plan

ROOT = pathlib.Path(__file__).parents[2]
SMALL = {"model": "tiny", "context": 64, "limit": 3}


def write_run(folder, *, bits="4", ranks=(4,), gain=0.0, **config):
    """A finished run of `tiny`, its adapters as far from zero as `gain`."""
    precision = PrecisionConfig(widths=(4,), ranks=ranks, group=32)
    model = load_model("tiny", precision=precision, fit=False)
    fit_scales(model, (8, 4))
    random = np.random.RandomState(0)
    for variable in model.variables:
        if variable.path.endswith("adapters/up"):
            variable.assign(gain * random.normal(size=tuple(variable.shape)))
    plan = Plan.parse(bits, layers=2, group=32)
    pathlib.Path(folder, "checkpoints").mkdir(parents=True)
    save_model(f"{folder}/checkpoints/final.safetensors", model)
    config = {
        "model": "tiny",
        "precision": precision.to_json(),
        "plans": [plan.to_json()],
        **config,
    }
    pathlib.Path(folder, "config.json").write_text(json.dumps(config))


@unittest.skipUnless(ON_TENSORFLOW, "JAX compiles each model for long")
class EvaluateTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path

    def test_plans_stand_beside_full_precision(self):
        path = os.path.join(self.folder, "out/found.json")
        results = evaluate(**SMALL, plan="8;stripe-8-4;2;32", json=path)
        self.assertEqual(read_results(path)["plans"][0]["name"], "8")
        names = [row["name"] for row in results["plans"]]
        self.assertEqual(names, ["8", "stripe-8-4", "2", "32"])
        ratios = [row["perplexity_ratio"] for row in results["plans"]]
        self.assertAllClose(ratios[0], 1.0, atol=0.02)
        self.assertAllClose(ratios[3], 1.0, atol=1e-5)
        self.assertAllClose(
            ratios[2],
            results["plans"][2]["perplexity"]
            / results["reference"]["perplexity"],
        )
        self.assertEqual(results["reference"]["bytes"], 2 * 106_816)
        protocol = results["protocol"]
        self.assertEqual((protocol["tokens"], protocol["windows"]), (63 * 3, 3))
        self.assertLen(protocol["text"], 64)
        self.assertGreater(results["memory"]["host_mb"], 0)
        row = results["plans"][1]
        self.assertAllClose(
            row["accuracy_per_bit"],
            100 * row["token_accuracy"] / row["effective_bits"],
        )

    def test_plans_of_several_groups_get_a_model_each(self):
        path = os.path.join(self.folder, "plan.json")
        Plan.parse("4", layers=2, group=32, name="fine").save(path)
        candidates = model_candidates("tiny", f"4;{path};8", group=0)
        self.assertEqual(
            [[plan.name for plan in one.plans] for one in candidates],
            [["4", "8"], ["fine"]],
        )
        results = evaluate(**SMALL, plan=f"4;{path}", group=0)
        sizes = [row["bytes"] for row in results["plans"]]
        self.assertEqual(
            sizes[0] + 4 * 2 * 64 - 1024 * 4 + 2304, sizes[0] - 1280
        )

    def test_runs_stand_side_by_side(self):
        runs = [f"{self.folder}/plain-1", f"{self.folder}/bent-1"]
        write_run(runs[0])
        write_run(runs[1], gain=0.1)
        results = evaluate(workdir=runs, context=64, limit=3)
        plain, bent = results["plans"]
        self.assertEqual([plain["run"], bent["run"]], ["plain-1", "bent-1"])
        self.assertNotEqual(plain["perplexity"], bent["perplexity"])
        # Both pay for adapters of rank 4 in int8, and 12 bytes for each of
        # the scales of a block: 7 layers' 4 inner and 512 outer outputs.
        bare = evaluate(**SMALL, plan="4", group=32)["plans"][0]
        extra = 2 * (1024 * 4 + 12 * (7 * 4 + 512))
        self.assertEqual(plain["bytes"] - bare["bytes"], extra)
        self.assertAllClose(plain["perplexity"], bare["perplexity"], rtol=1e-4)
        for run, row in zip(runs, (plain, bent), strict=True):
            own = read_results(run)
            self.assertLen(own["plans"], 1)
            self.assertEqual(own["plans"][0]["perplexity"], row["perplexity"])
            self.assertEqual(own["reference"], results["reference"])

    def test_what_training_noted_stays(self):
        run = f"{self.folder}/run"
        write_run(run)
        options = {"workdir": [run], "context": 64}
        first = evaluate(**options, limit=2)
        write_results(f"{run}/results.json", {**first, "training_seconds": 7})
        evaluate(**options, limit=1)
        found = read_results(run)
        self.assertEqual(found["training_seconds"], 7)
        self.assertEqual(found["protocol"]["windows"], 1)

    def test_untrained_width_is_rounded_and_has_no_adapter(self):
        write_run(f"{self.folder}/run", gain=0.1)
        found = evaluate(
            workdir=[f"{self.folder}/run"], plan="5;3", context=64, limit=3
        )
        bare = evaluate(**SMALL, plan="5;3", group=32)
        for own, expected in zip(found["plans"], bare["plans"], strict=True):
            self.assertEqual(own["bytes"], expected["bytes"])
            self.assertAllClose(
                own["perplexity"], expected["perplexity"], rtol=1e-4
            )

    def test_json_leaves_the_run_alone(self):
        write_run(f"{self.folder}/run")
        path = f"{self.folder}/found.json"
        evaluate(workdir=[f"{self.folder}/run"], context=64, limit=1, json=path)
        read_results(path)
        self.assertFalse(os.path.exists(f"{self.folder}/run/results.json"))

    def test_squad_and_speed(self):
        path = os.path.join(self.folder, "dev.json")
        squad_files.write_official_json(path)
        results = evaluate(
            **SMALL,
            plan="8",
            data=path,
            tasks=("squad", "speed"),
            batch_size=2,
        )
        row = results["plans"][0]
        self.assertEqual(row["questions"], 3)
        self.assertBetween(row["f1"], 0, 100)
        self.assertIsNone(results["reference"]["perplexity"])
        self.assertNotIn("perplexity_ratio", row)
        self.assertGreater(row["evaluation_tokens_per_second"], 0)
        self.assertGreater(row["decoding_tokens_per_second"], 0)

    def test_dry_run_judges_one_batch_and_writes_nothing(self):
        path = os.path.join(self.folder, "found.json")
        results = evaluate(
            model="tiny", context=64, plan="8", dry_run=True, json=path
        )
        self.assertEqual(results["plans"][0]["tokens"], 63 * 4)
        self.assertEqual(os.listdir(self.folder), [])

    def test_report_shows_what_was_measured(self):
        results = evaluate(**SMALL, plan="4")
        with contextlib.redirect_stdout(io.StringIO()) as out:
            print_report(results, markdown=True)
        lines = out.getvalue().splitlines()
        self.assertStartsWith(lines[0], "| plan | group | bits | MB |")
        self.assertStartsWith(lines[2], "| full precision | – | 16.00 |")
        self.assertIn("189 tokens counted in 3 windows", out.getvalue())

    def test_list_names_every_choice(self):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            print_choices()
        for name in ("perplexity", "pydoc", "smollm2-135m", "stripe-8-4"):
            self.assertIn(name, out.getvalue())

    def test_codecs_stand_beside_the_exact_cache(self):
        path = f"{self.folder}/plan.json"
        small = "block=8:window=8"
        kv = {"codec": "int4", "block": 8, "window": 8}
        Plan.parse("16", layers=2, group=32, kv=kv, name="own").save(path)
        cache = mock.patch.dict(os.environ, {"TFSHRINK_CACHE": self.folder})
        with cache:
            found = evaluate(
                **SMALL, kv=["identity", f"int2:{small}", f"pca:2.5x:{small}"]
            )
        same, worst, best = found["plans"]
        self.assertEqual(found["protocol"]["first"], 32)
        self.assertEqual(found["protocol"]["stride"], 32)
        self.assertEqual(same["name"], "16 identity")
        self.assertAlmostEqual(same["perplexity_ratio"], 1.0, places=4)
        self.assertEqual(same["kv_compression"], 1.0)
        self.assertEqual(worst["kv"], f"int2:{small}")
        self.assertBetween(best["kv_compression"], 2.3, 2.55)
        self.assertGreater(abs(worst["perplexity_ratio"] - 1), 1e-5)
        own = evaluate(**SMALL, plan=path, group=32)["plans"][0]
        self.assertEqual(own["kv"], f"int4:{small}")
        self.assertLess(abs(own["perplexity_ratio"] - 1), 0.05)


class MistakesTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path

    @parameterized.parameters(
        ({"tasks": ("perplexty",)}, "tasks.*Did you mean `perplexity`"),
        ({"tasks": ()}, "tasks"),
        ({"model": "tini"}, "model.*Did you mean `tiny`"),
        ({"data": "pidoc"}, "pydoc"),
        ({"dtype": "float16"}, "dtype"),
        ({"scales": "mes"}, "scales.*mse"),
        ({"plan": "1"}, "bits=1"),
        ({"plan": "9"}, "bits=9"),
        ({"plan": "8,4"}, "8 bit-widths"),
        ({"plan": "eight"}, "plan.*eight"),
        ({"group": 128}, "group.*64.*128"),
        ({"group": 48}, "group"),
        ({"context": 1}, "context"),
        ({"context": 513}, "context.*512.*tiny"),
        ({"stride": 64, "context": 64}, "stride.*63"),
        ({"stride": 0}, "stride"),
        ({"batch_size": 0}, "batch_size"),
        ({"limit": 0}, "limit"),
        ({"json": "."}, "json"),
        ({"json": "/dev/full"}, "json.*file"),
        ({"data": "no/such.txt"}, "no/such.txt"),
        ({"workdir": ["no/such/run"]}, "workdir.*config.json.*no/such/run"),
    )
    def test_mistake_is_named(self, options, message):
        with self.assertRaisesRegex(UserError, message):
            evaluate(**{"model": "tiny", "plan": "8", **options})

    def test_text_shorter_than_the_context(self):
        path = self.create_tempfile("short.txt", "Hello there.").full_path
        with self.assertRaisesRegex(UserError, "context=512.*short.txt"):
            evaluate(model="tiny", data=path)

    def test_empty_text(self):
        path = self.create_tempfile("empty.txt", " \n").full_path
        with self.assertRaisesRegex(UserError, "empty.txt"):
            evaluate(model="tiny", data=path)

    def test_unfinished_run(self):
        write_run(f"{self.folder}/run")
        os.remove(f"{self.folder}/run/checkpoints/final.safetensors")
        with self.assertRaisesRegex(UserError, "finished run.*final"):
            evaluate(workdir=[f"{self.folder}/run"])

    def test_damaged_checkpoint(self):
        write_run(f"{self.folder}/run")
        path = pathlib.Path(f"{self.folder}/run/checkpoints/final.safetensors")
        path.write_bytes(path.read_bytes()[:1000])
        with self.assertRaisesRegex(UserError, "final.safetensors.*whole"):
            evaluate(workdir=[f"{self.folder}/run"], context=64, limit=1)

    def test_plan_of_another_group_than_the_run(self):
        write_run(f"{self.folder}/run")
        path = f"{self.folder}/plan.json"
        Plan.parse("4", layers=2, group=64).save(path)
        with self.assertRaisesRegex(UserError, "group.*32.*64"):
            evaluate(workdir=[f"{self.folder}/run"], plan=path)

    def test_what_a_plan_removes_costs_nothing(self):
        plans = "8;8:heads=.5:channels=.25"
        whole, less = evaluate(**SMALL, plan=plans, group=32)["plans"]
        # Half of 4 heads of 16 and of 2 of keys and values, a quarter of 128
        # channels, two blocks of them; 12 bytes a scale of 96 + 64 outputs.
        weights = 2 * (64 * 32 * 2 + 64 * 16 * 2 + 64 * 32 * 3)
        saved = weights + 2 * 12 * (32 + 2 * 16 + 2 * 32)
        self.assertEqual(whole["bytes"] - less["bytes"], saved)
        self.assertEqual(less["effective_bits"], 8.0)
        self.assertLess(less["macs"], whole["macs"])
        self.assertNotEqual(less["perplexity"], whole["perplexity"])

    def test_a_run_that_sorted_nothing_removes_nothing(self):
        write_run(f"{self.folder}/run")
        with self.assertRaisesRegex(UserError, "are not sorted. Train with"):
            evaluate(workdir=[f"{self.folder}/run"], plan="4:channels=.25")

    def test_plan_that_asks_for_more_than_bits(self):
        path = f"{self.folder}/plan.json"
        Plan.parse("8", layers=2, exit={"layers": [1]}).save(path)
        with self.assertRaisesRegex(UserError, "must not set exit"):
            evaluate(model="tiny", plan=path)

    @parameterized.parameters(
        ("pca:40x", "`kv` rate of pca must be at most .*x for 64 tokens"),
        ("pca:4x:layers=7", "`kv` layers must be below 2"),
        ("int4:block=128", "`kv` block must be at most .* 64 tokens"),
        ("pca", "`kv` pca must have a rate"),
        ("pac:4x", "Did you mean `pca`"),
    )
    def test_a_codec_out_of_reach_is_named(self, kv, message):
        with self.assertRaisesRegex(UserError, message):
            evaluate(**SMALL, kv=[kv])

    def test_pruned_plan_is_judged(self):
        found = evaluate(
            model="tiny",
            plan="8;8:pruning=.5;8:pruning=2of4",
            group=32,
            context=32,
            limit=8,
        )
        whole, pruned, pattern = found["plans"]
        self.assertEqual(pruned["bytes"], whole["bytes"])
        self.assertLess(pruned["scaled_flops"], whole["scaled_flops"])
        self.assertNotEqual(pruned["perplexity"], whole["perplexity"])
        self.assertNotEqual(pattern["perplexity"], pruned["perplexity"])


class BinaryTest(TestCase):
    def run_binary(self, *arguments):
        return forks.run(
            [ROOT / "bin/evaluate", *arguments],
            cwd=self.create_tempdir().full_path,
        )

    def test_help_shows_three_examples(self):
        done = self.run_binary("--help")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stdout.count("\n  bin/evaluate "), 3)
        for flag in ("--workdir", "--plan", "--tasks", "--stride", "--json"):
            self.assertIn(flag, done.stdout)

    def test_mistake_is_one_line(self):
        done = self.run_binary("--model=tiny", "--tasks=sqad")
        self.assertEqual(done.returncode, 1)
        self.assertIn("Did you mean `squad`?", done.stderr)
        self.assertLen(done.stderr.splitlines(), 1)

    def test_run_and_model_exclude_each_other(self):
        done = self.run_binary("--model=tiny", "--workdir=runs/x")
        self.assertEqual(done.returncode, 1)
        self.assertIn("exclude each other", done.stderr)

    def test_prints_a_table_and_writes_json(self):
        done = self.run_binary(
            "--model=tiny", "--plan=8", "--context=64", "--limit=2", "--json=x"
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("full precision", done.stdout)
        self.assertIn("126 tokens counted in 2 windows", done.stdout)
