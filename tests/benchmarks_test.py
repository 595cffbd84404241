"""The benchmarks in their small form; no test looks at a time."""

import json
import os
import pathlib
import sys

import numpy as np

from tests import forks
from tests.test_case import ON_TENSORFLOW
from tests.test_case import TestCase
from tests.training import tiny
from tfshrink.models.checkpoint import load_tensors
from tfshrink.training.train import train

ROOT = pathlib.Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
SMALL = ("--model=tiny", "--batch=2", "--context=32", "--steps=1")

# Stands for the peers' Python: prints a line of theirs, without PyTorch.
PEER = """#!{python}
import json, os, sys
import numpy as np
options = dict(o.lstrip("-").partition("=")[::2] for o in sys.argv[2:])
weights = os.listdir(options["weights"])
assert "config.json" in weights and "model.safetensors" in weights
assert np.load(options["tokens"]).shape == (2, 32)
if options["dtype"] == "float32":
    sys.exit("out of memory")
print(json.dumps({{
    "tokens_per_second": 10.0, "seconds_per_step": 6.4,
    "seconds_spread": 0.1, "peak_rss_mb": 1.0,
    "losses": [1.0], "perplexity": 500.0,
}}))
"""


class HandOverTest(TestCase):
    def test_weights_come_back_as_they_went(self):
        from benchmarks import hand_over
        from tfshrink.models.sources import open_source

        source = open_source("tiny")
        folder = pathlib.Path(self.create_tempdir().full_path)
        hand_over.write_weights(source, folder)
        copy = open_source(folder)
        for field in ("rope_theta", "norm_epsilon", "tied", "kv_heads", "eos"):
            self.assertEqual(
                getattr(copy.config, field), getattr(source.config, field)
            )
        own, other = dict(source.weights()), dict(copy.weights())
        self.assertEqual(list(own), list(other))
        for name in own:
            self.assertAllEqual(own[name], other[name])

    def test_gpt2_is_refused_by_name(self):
        from benchmarks import hand_over
        from tfshrink.errors import UserError
        from tfshrink.models.sources import open_source

        config = open_source("tiny-gpt2").config
        with self.assertRaisesRegex(UserError, "Llama family.*tiny-gpt2"):
            hand_over.llama_config(config)


class BenchmarksTest(TestCase):
    def setUp(self):
        super().setUp()
        if not ON_TENSORFLOW:
            self.skipTest("one backend is enough")

    def _run(self, script, *options, code=0):
        done = forks.run([BENCHMARKS / script, *options], timeout=600)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def _peer(self):
        path = self.create_tempfile("peer", PEER.format(python=sys.executable))
        os.chmod(path.full_path, 0o755)
        return f"--peer_python={path.full_path}"

    def _rows(self, script, *options):
        path = pathlib.Path(self.create_tempdir().full_path) / "out.json"
        done = self._run(script, *SMALL, f"--json={path}", *options)
        self.assertNotIn("Traceback", done.stderr)
        return json.loads(path.read_text())["rows"]

    def test_train_step_beside_a_peer(self):
        ours, peer = self._rows(
            "train_step.py",
            "--ours=bfloat16+codes",
            "--variants=bfloat16+compile",
            self._peer(),
        )
        self.assertEqual(ours["traces"], 1)
        self.assertLen(ours["losses"], 2)
        self.assertEqual(peer["ratio"], 1.0)
        self.assertAlmostEqual(
            ours["ratio"], ours["tokens_per_second"] / 10.0, places=5
        )

    def test_evaluation_in_two_types_agrees(self):
        narrow, wide = self._rows("evaluate.py", "--variants=")
        self.assertEqual(wide["predictions"], 62)
        self.assertIsNone(wide["ratio"])
        self.assertAllClose(narrow["perplexity"], wide["perplexity"], rtol=0.02)

    def test_plan_switch_never_traces_again(self):
        path = self.create_tempfile("out.json").full_path
        self._run(
            "plan_switch.py", "--model=tiny", "--calls=2", f"--json={path}"
        )
        row = json.loads(pathlib.Path(path).read_text())
        self.assertEqual((row["plans"], row["traces"]), (4, 1))

    def test_quality_beside_rounding_alone(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        text = folder / "text.txt"
        text.write_text("One fish, two fish; red fish, blue fish. " * 40)
        settings = tiny.settings(
            plan="8;2",
            ranks="2,2",
            total_steps=1,
            eval_data=str(text),
            data=str(text),
        ).to_json()
        config = folder / "small.py"
        config.write_text(f"def get_config():\n    return {settings}\n")
        options = (f"--configs={config}", f"--folder={folder / 'runs'}")
        path = folder / "out.json"
        for _ in range(2):  # the second time nothing is trained
            done = self._run("quality.py", *options, f"--json={path}")
            first, last = json.loads(path.read_text())["rows"]
            self.assertEqual([first["name"], last["name"]], ["8", "2"])
            self.assertAllClose(first["rtn"], 1.0, atol=0.01)
            self.assertNotEqual(last["rtn"], last["mse"])
            stored = folder / "runs/small/results.json"
            plans = json.loads(stored.read_text())["plans"]
            self.assertEqual(
                plans[1]["perplexity_ratio"], last["perplexity_ratio"]
            )
        self.assertNotIn("Training", done.stderr)
        results = json.loads(stored.read_text())
        results["protocol"]["limit"] = 8  # as another judgement leaves it
        stored.write_text(json.dumps(results))
        done = self._run("quality.py", *options, code=1)
        self.assertIn("remove it", done.stderr.splitlines()[-1])

    def test_the_example_study_draws_its_figure(self):
        path = pathlib.Path(self.create_tempdir().full_path, "out.png")
        done = self._run(
            ROOT / "examples" / "kv_study.py",
            "--model=tiny",
            "--method=int4",
            "--context=160",
            "--limit=1",
            f"--output={path}",
        )
        self.assertIn("int4", done.stdout)
        self.assertStartsWith(path.read_bytes(), b"\x89PNG")

    def test_sparse_products_are_those_of_what_is_kept(self):
        path = self.create_tempdir().full_path + "/out.json"
        self._run(
            "kv_sparse.py",
            "--tokens=64",
            "--kept=4,32",
            "--repeats=1",
            f"--json={path}",
        )
        rows = json.loads(pathlib.Path(path).read_text())["rows"]
        self.assertLen(rows, 14)
        self.assertLess(max(row["error"] for row in rows), 1e-4)

    def test_ablation_begins_where_the_whole_recipe_began(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        text = folder / "text.txt"
        text.write_text("One fish, two fish; red fish, blue fish. " * 40)
        small = (
            f"--model=tiny --plan=2 --group=32 --ranks=4 --limit=4 "
            f"--total_steps=2 --batch_size=2 --context=16 --generated_rows=2 "
            f"--dtype=float32 --init=mse --bank=none --eval_data={text} "
            f"--nouse_tensorboard"
        )
        path = folder / "out.json"
        self._run(
            "ablation.py",
            "--variants=init_alone,no_distillation",
            f"--flags={small.replace(';', chr(92) + ';')}",
            f"--folder={folder}",
            f"--json={path}",
        )
        rows = json.loads(path.read_text())["rows"]
        self.assertEqual(
            [row["variant"] for row in rows],
            ["whole", "init_alone", "no_distillation"],
        )
        self.assertLen({row["2 bits"] for row in rows}, 3)
        start, _ = load_tensors(folder / "whole/checkpoints/start.safetensors")
        end, _ = load_tensors(
            folder / "init_alone/checkpoints/final.safetensors"
        )
        for name, value in start.items():
            self.assertAllEqual(end[name], value)

    def test_exports_decode_and_agree_with_their_simulation(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        text = folder / "text.txt"
        text.write_text("One fish, two fish; red fish, blue fish. " * 80)
        from tfshrink.deploy.export import export

        export(
            model="tiny",
            plan="4",
            group=32,
            out=folder / "four",
            data=str(text),
        )
        common = (
            f"--artifacts={folder / 'four'}",
            "--model=tiny",
            "--new_tokens=4",
            f"--data={text}",
            f"--json={folder / 'out.json'}",
        )
        small = ("--contexts=9,33", "--limit=1", "--repeats=1")
        self._run("decode.py", *common, *small)
        (row,) = json.loads((folder / "out.json").read_text())["rows"]
        self.assertEqual((row["side"], row["variant"]), ("tfshrink", "plan 4"))
        for key in ("decode@9", "prefill@33", "peak MB", "MB"):
            self.assertGreater(row[key], 0.0, key)
        self.assertAllClose(row["perplexity"], 512.0, rtol=0.5)
        self._run("fidelity.py", *common, "--prompts=1", "--prompt_tokens=5")
        (row,) = json.loads((folder / "out.json").read_text())["rows"]
        self.assertIsNone(row["first difference"])
        self.assertEqual(row["tokens"], 4)

    def test_a_perplexity_worked_by_hand(self):
        class Side:
            def reset(self):
                self.tokens = 0

            def score(self, tokens):
                self.tokens += len(tokens)
                return np.log([[0.5, 0.25, 0.25]] * self.tokens)

        rows, masks = np.array([[0, 0, 1], [2, 2, 0]]), np.ones((2, 3))
        masks[1, 1] = 0  # .5 and .25 in the first row, .5 in the second
        from benchmarks.decoding import protocol

        self.assertAllClose(
            protocol.perplexity(Side(), rows, masks), 16 ** (1 / 3)
        )

    def test_judging_and_searching(self):
        path = pathlib.Path(self.create_tempdir().full_path, "out.json")
        common = ("--model=tiny", "--group=32", "--prompts=4", "--tokens=32")
        common += (f"--json={path}",)
        self._run("judge.py", *common, "--plan=8;4", "--repeats=1")
        rows = json.loads(path.read_text())["rows"]
        self.assertEqual([row["plan"] for row in rows], ["8", "4"])
        for row in rows:
            ratio = row["judged, s"] / row["forward, s"]
            self.assertAllClose(row["judged / forward"], ratio)
            self.assertGreater(row["rebuilt, s"], 0.0)
        small = ("--iterations=5", "--draws=2", "--sides=nsga2,random")
        self._run("search.py", *common, *small, "--bits=8,4")
        rows = json.loads(path.read_text())["rows"]
        sides = [row["side"] for row in rows]
        self.assertEqual(sides, ["all layers equal", "nsga2", "random"])
        self.assertEqual([row["plans"] for row in rows], [2, 5, 5])
        for row in rows:
            self.assertBetween(row["hypervolume"], 0.0, 2.0)

    def test_caches_side_by_side(self):
        plot = pathlib.Path(self.create_tempdir().full_path) / "kv.svg"
        exact, coded = self._rows(
            "kv_cache.py",
            "--variants=",
            "--ours=float32+identity,float32+int8",
            "--context=256",
            f"--plot={plot}",
        )
        self.assertEqual(exact["perplexity_ratio"], 1.0)
        self.assertBetween(coded["perplexity_ratio"], 0.99, 1.01)
        self.assertBetween(coded["smaller"], 1.1, 2.0)
        self.assertIn("<svg", plot.read_text())

    def test_decoding_behind_caches(self):
        exact, coded = self._rows(
            "kv_decode.py",
            "--ours=float32+identity,float32+int8",
            "--context=256",
            "--calls=1",
        )
        self.assertEqual(exact["speed"], 1.0)
        self.assertGreater(coded["rss_mb"], coded["kv_mb"])
        self.assertAlmostEqual(
            coded["predicted_mb"], exact["kv_mb"] - coded["kv_mb"]
        )

    def test_exits_beside_the_full_model(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        text = folder / "text.txt"
        text.write_text("One fish, two fish; red fish, blue fish. " * 80)
        settings = tiny.settings(
            style="early_exit",
            plan="32",
            train="exits",
            exits="1",
            exit_rank=16,
            total_steps=1,
            ranks="",
            eval_data=str(text),
            data=str(text),
        )
        run = train(settings, workdir=str(folder / "run"))[1]
        full, exact, draft, peer = self._rows(
            "early_exit.py",
            f"--workdir={run}",
            f"--data={text}",
            "--new_tokens=4",
            "--ours=float32+none,float32+margin:1,"
            "float32+margin:0:missing=verify",
            "--variants=bfloat16+plain",
            self._peer(),
        )
        self.assertEqual((full["speedup"], peer["speedup"]), (1.0, 1.0))
        self.assertEqual((full["layers"], exact["layers"]), (2.0, 2.0))
        self.assertEqual((exact["agreement"], exact["same_text"]), (1.0, 1.0))
        self.assertEqual(draft["same_text"], 1.0)
        self.assertGreater(exact["weights_read"], 1.0)
        done = self._run(
            "early_exit.py",
            f"--workdir={run}",
            "--model=tiny-gpt2",
            "--variants=",
            code=1,
        )
        self.assertIn("that of the run, tiny", done.stderr.splitlines()[-1])

    def test_a_failing_side_is_one_line(self):
        done = self._run(
            "evaluate.py",
            *SMALL,
            "--ours=",
            "--variants=float32",
            self._peer(),
            code=1,
        )
        self.assertRegex(
            done.stderr.splitlines()[-1], "torch_evaluate.*out of memory"
        )

    def test_mistakes_are_named(self):
        for options, message in (
            ((), "--peer_python"),
            (("--variants=float31",), "float32"),
            (("--variants=", "--ours=bfloat16+cached2"), "cached"),
            (("--variants=", "--limit=3"), "--limit"),
        ):
            with self.subTest(options):
                done = self._run("evaluate.py", *SMALL, *options, code=1)
                self.assertLen(done.stderr.splitlines(), 1, done.stderr)
                self.assertIn(message, done.stderr)
