import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from unittest import mock

import numpy as np
from absl.testing import parameterized

from tests import forks
from tests.evaluation.evaluate_test import write_run
from tests.test_case import TestCase
from tfshrink.deploy import export as export_module
from tfshrink.deploy.artefact import Artefact
from tfshrink.deploy.artefact import VERSION
from tfshrink.deploy.export import export
from tfshrink.deploy.generate import converse
from tfshrink.deploy.generate import generate
from tfshrink.deploy.runtime import Runtime
from tfshrink.deploy.sampling import Sampling
from tfshrink.errors import UserError
from tfshrink.evaluation.candidate import run_candidates
from tfshrink.evaluation.evaluate import evaluate
from tfshrink.files import atomic_folder

ROOT = pathlib.Path(__file__).parents[2]
GREEDY = {"temperature": 0.0, "repetition_penalty": 1.0}


class ExportTest(TestCase):
    """From a run to text, and what the folder holds."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.root = pathlib.Path(folder)
        write_run(cls.root / "run", gain=0.02)
        cls.folder, cls.rows = export(
            workdir=cls.root / "run",
            plan="4",
            out=cls.root / "exports" / "four",
        )

    def test_row_says_how_true_and_how_large_the_file_is(self):
        (row,) = self.rows
        size = (self.folder / "model.tflite").stat().st_size
        self.assertEqual(row["status"], "ok")
        self.assertAllClose(row["MB"] * 1e6, size)
        self.assertBetween(row["largest error"], 0, 0.03 * row["of"])
        self.assertGreater(row["same next token"], 0.95)
        self.assertGreater(row["tokens/s"], 0)

    def test_folder_holds_what_a_reader_needs(self):
        self.assertContainsSubset(
            ["README.md", "metadata.json", "model.tflite", "tokenizer.json"],
            os.listdir(self.folder),
        )
        metadata = json.loads((self.folder / "metadata.json").read_text())
        self.assertEqual(metadata["plan"]["bits"]["block_01/mlp_out"], 4)
        self.assertEqual(metadata["config"]["name"], "tiny")
        self.assertEqual(os.listdir(self.folder.parent), ["four"])

    def test_text_is_that_of_the_simulation(self):
        from tfshrink.models.generation import Generator

        (one,) = run_candidates([self.root / "run"], "4", activations=8)
        generator = Generator(one.load("float32"), bits=one.plans[0].bits)
        prompt = [5, 7, 11, 300]
        (wanted,) = generator.generate(
            [prompt], max_new_tokens=20, temperature=0.0
        )
        runtime = Runtime(self.folder)
        found = runtime.tokens(
            prompt, max_new_tokens=20, sampling=Sampling(**GREEDY)
        )
        self.assertEqual(list(found), wanted)

    def test_what_was_read_before_is_not_read_again(self):
        runtime = Runtime(self.folder)
        settings = {"max_new_tokens": 6, "sampling": Sampling(**GREEDY)}
        first = list(runtime.tokens([5, 7, 11], **settings))
        with mock.patch.object(
            runtime.session, "prefill", wraps=runtime.session.prefill
        ) as prefill:
            again = list(runtime.tokens([5, 7, 11, *first, 9], **settings))
        self.assertEqual(prefill.call_args.args[0], [first[-1], 9])
        fresh = Runtime(self.folder)
        wanted = list(fresh.tokens([5, 7, 11, *first, 9], **settings))
        self.assertEqual(again, wanted)

    def test_shows_pieces_and_counts(self):
        shown = []
        result = generate(
            "Once",
            shown.append,
            artifact=self.folder,
            max_new_tokens=12,
            seed=1,
        )
        self.assertEqual("".join(shown), result["text"])
        self.assertBetween(result["tokens"], 1, 12)

    def test_a_stop_text_ends_it(self):
        options = {"artifact": self.folder, "max_new_tokens": 30, "seed": 1}
        text = generate("Once", lambda piece: None, **options)["text"]
        stop = text[4:6]
        cut = generate("Once", lambda piece: None, stop=[stop], **options)
        self.assertEqual(cut["text"], text[: text.index(stop)])

    def test_conversation_keeps_what_was_said(self):
        shown = []
        with mock.patch.object(
            Runtime, "encode", autospec=True, side_effect=Runtime.encode
        ) as encode:
            converse(
                ["Hello", "And?"],
                shown.append,
                artifact=self.folder,
                max_new_tokens=5,
                **GREEDY,
            )
            prompts = [call.args[1] for call in encode.call_args_list]
        first = "".join(shown).split("\n")[0]
        self.assertStartsWith(prompts[1], prompts[0] + first)
        self.assertEndsWith(
            prompts[1],
            "<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n",
        )

    def test_a_prompt_as_long_as_the_context_is_refused(self):
        with self.assertRaisesRegex(UserError, "fewer tokens than the context"):
            list(Runtime(self.folder).tokens([5] * 512, max_new_tokens=1))

    def test_evaluate_runs_the_file(self):
        results = evaluate(
            workdir=[self.root / "run"],
            plan="4",
            activations=8,
            artifact=[self.folder],
            limit=3,
            context=64,
            json=self.root / "both.json",
        )
        simulated, shipped = results["plans"]
        self.assertEqual(shipped["name"], "4 (LiteRT)")
        self.assertAllClose(
            shipped["perplexity"], simulated["perplexity"], rtol=2e-3
        )
        self.assertEqual(shipped["tokens"], simulated["tokens"])
        self.assertAllClose(
            shipped["top5_accuracy"], simulated["top5_accuracy"], atol=0.01
        )
        self.assertEqual(
            shipped["bytes"], (self.folder / "model.tflite").stat().st_size
        )

    def test_an_export_alone_stands_beside_full_precision(self):
        results = evaluate(artifact=[self.folder], limit=2, context=64)
        (row,) = results["plans"]
        self.assertAllClose(
            row["perplexity_ratio"],
            row["perplexity"] / results["reference"]["perplexity"],
        )

    def test_running_it_needs_no_tensorflow(self):
        code = (
            "import sys\n"
            "sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
            "from tfshrink.deploy.runtime import Runtime\n"
            f"runtime = Runtime({str(self.folder)!r})\n"
            "print(len(list(runtime.tokens([5], max_new_tokens=4))))\n"
            "names = {name.partition('.')[0] for name in sys.modules}\n"
            "print(sorted(names & {'jax', 'torch', 'transformers'}))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        count, extra = done.stdout.split("\n")[:2]
        self.assertBetween(int(count), 1, 4)
        self.assertEqual(extra, "[]")

    @parameterized.parameters(
        ("metadata.json", None, "with a metadata.json"),
        ("metadata.json", "{", "with a metadata.json"),
        ("metadata.json", "{}", f"metadata of version {VERSION}"),
        ("model.tflite", None, "must hold model.tflite"),
        ("model.tflite", "short", "must have the .* bytes"),
        ("tokenizer.json", "{}", "must be the tokenizer"),
    )
    def test_a_damaged_folder_is_one_error(self, name, content, message):
        copy = self.root / "damaged"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder, copy)
        (copy / name).unlink()
        if content is not None:
            (copy / name).write_text(content)
        with self.assertRaisesRegex(UserError, message):
            Runtime(copy)

    @parameterized.parameters("vocabulary", "width")
    def test_a_shape_that_the_file_has_not_is_refused(self, name):
        copy = self.root / "shape"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder, copy)
        values = json.loads((copy / "metadata.json").read_text())
        values["config"][name] *= 4
        (copy / "metadata.json").write_text(json.dumps(values))
        with self.assertRaisesRegex(UserError, f"{name}.*Received"):
            Runtime(copy)

    def test_a_killed_export_leaves_nothing_to_the_next(self):
        copy = self.root / "killed"
        left = self.root / f".killed.{os.getpid()}.tmp"  # in a container
        left.mkdir()
        (left / "model.tflite").write_text("half")
        with atomic_folder(copy) as hidden:
            self.assertEqual(os.listdir(hidden), [])
            with atomic_folder(copy.with_name("other")):
                self.assertTrue(hidden.is_dir())
        self.assertTrue(copy.is_dir())
        shutil.rmtree(copy)
        shutil.rmtree(copy.with_name("other"))
        self.assertFalse(left.exists())

    def test_another_file_of_the_same_size_is_refused(self):
        copy = self.root / "swapped"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder, copy)
        data = bytearray((copy / "model.tflite").read_bytes())
        data[-1] ^= 1
        (copy / "model.tflite").write_bytes(data)
        with self.assertRaisesRegex(UserError, "SHA-256 is another"):
            Artefact(copy)

    def test_an_earlier_export_is_replaced_only_on_demand(self):
        copy = self.root / "again"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder, copy)
        with self.assertRaisesRegex(UserError, "come with --overwrite"):
            export(model="tiny", plan="8", group=32, out=copy)
        before = (copy / "model.tflite").read_bytes()
        failing = mock.patch.object(
            export_module, "model_card", side_effect=OSError(28, "No space")
        )
        with failing, self.assertRaises(OSError):
            export(model="tiny", plan="8", group=32, out=copy, overwrite=True)
        self.assertEqual((copy / "model.tflite").read_bytes(), before)
        export(model="tiny", plan="8", group=32, out=copy, overwrite=True)
        self.assertEqual(Artefact(copy).metadata["plan"]["name"], "8")
        hidden = [n for n in os.listdir(self.root) if n.startswith(".")]
        self.assertEqual(hidden, [])


class SavedModelTest(TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.root = pathlib.Path(folder)
        write_run(cls.root / "run", gain=0.02)

    def load_and_run(self, folder, body):
        """What a clean interpreter prints that has TensorFlow, not tfshrink."""
        code = (
            "import sys\n"
            "sys.modules['tfshrink'] = sys.modules['keras'] = None\n"
            "import numpy as np, tensorflow as tf\n"
            f"model = tf.saved_model.load({str(folder / 'saved_model')!r})\n"
            "run = model.signatures\n"
            "tokens = tf.constant([[5, 7, 11, 300]])\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code + body],
            capture_output=True,
            text=True,
            check=True,
            cwd=self.root,
        )
        return json.loads(done.stdout.splitlines()[-1])

    def simulated(self, bits):
        (one,) = run_candidates([self.root / "run"], "8;4;2")
        model = one.load("float32")
        tokens = np.array([[5, 7, 11, 300]], "int32")
        return np.asarray(model(tokens, np.asarray(bits, "int32")))[0]

    def test_plain_tensorflow_runs_one_plan(self):
        folder, rows = export(
            workdir=self.root / "run",
            plan="4",
            format=["saved_model", "litert"],
            out=self.root / "both",
        )
        row, other = rows
        self.assertEqual(other["format"], "litert")
        self.assertBetween(row["largest error"], 0, 1e-3 * row["of"])
        self.assertEqual(row["same next token"], 1.0)
        wanted = self.simulated((4,) * 8 + (8,))
        found = self.load_and_run(
            folder,
            "whole = run['serving_default'](tokens=tokens)['logits'][0]\n"
            "cache = tf.zeros((2, 1, 4, 10, 16))\n"
            "pad = tf.zeros((1,), tf.int32)\n"
            "first = run['prefill'](tokens=tokens[:, :3], cache=cache,\n"
            "    column=tf.constant(0), pad=pad)\n"
            "last = run['decode'](tokens=tokens[:, 3:], pad=pad,\n"
            "    column=tf.constant(3), cache=first['cache'])['logits']\n"
            "rows = [*whole.numpy(), first['logits'].numpy()[0]]\n"
            "rows.append(last.numpy()[0])\n"
            "import json; print(json.dumps([row.tolist() for row in rows]))\n",
        )
        wanted = [*wanted, wanted[2], wanted[3]]
        self.assertAllClose(found, wanted, atol=2e-3)

    def test_what_plans_remove_is_not_there(self):
        folder, (row,) = export(
            model="tiny",
            plan="8:heads=.5;4:heads=.5",
            group=32,
            format=["saved_model"],
            out=self.root / "less",
        )
        self.assertBetween(row["largest error"], 0, 1e-3 * row["of"])
        found = self.load_and_run(
            folder,
            "spec = run['decode'].structured_input_signature[1]['cache']\n"
            "import json; print(json.dumps(spec.shape.as_list()))\n",
        )
        self.assertEqual(found, [2, None, 2, None, 16])
        with self.assertRaisesRegex(UserError, "remove the same heads"):
            export(
                model="tiny",
                plan="8:heads=.5;4",
                group=32,
                format=["saved_model"],
                out=self.root / "other",
            )

    def test_bits_come_with_every_call(self):
        folder, (row,) = export(
            workdir=self.root / "run",
            plan="8;4;2",
            format=["saved_model"],
            out=self.root / "all",
        )
        self.assertIn("takes bits, of 8, 4, 2", row["status"])
        plans = [(8,) * 9, (4,) * 8 + (8,), (8, 4, 2, 4, 4, 8, 2, 2, 8)]
        found = self.load_and_run(
            folder,
            f"plans = {plans}\n"
            "rows = [run['serving_default'](tokens=tokens,\n"
            "    bits=tf.constant(bits))['logits'][0].numpy().tolist()\n"
            "    for bits in plans]\n"
            "import json; print(json.dumps(rows))\n",
        )
        for bits, own in zip(plans, found, strict=True):
            self.assertAllClose(own, self.simulated(bits), atol=2e-3)

    def test_codes_take_the_bytes_of_their_bits(self):
        sizes = {}
        for plan in ("32", "8", "4"):
            folder, _ = export(
                model="tiny",
                group=32,
                plan=plan,
                format=["saved_model"],
                out=self.root / plan,
            )
            files = (folder / "saved_model" / "variables").glob("*.data*")
            sizes[plan] = sum(file.stat().st_size for file in files)
        # By hand, as in size_test; scales per channel take 4 bytes here.
        scales = 4 * 1536
        self.assertAllClose(sizes["32"], 4 * 106_496, rtol=0.02)
        self.assertAllClose(sizes["8"], 106_496 + scales, rtol=0.04)
        scales = 2 * 2304 + 4 * 512
        expected = 36_864 + 32_768 + scales
        self.assertAllClose(sizes["4"], expected, rtol=0.06)


class MistakesTest(TestCase):
    @parameterized.parameters(
        ({"format": ["onnx"]}, "`format` must be one of"),
        ({"plan": "8;4"}, "must be one plan for --format=litert"),
        ({"plan": "9"}, "between 2 and 8"),
        ({"model": "tinny"}, "tiny"),
    )
    def test_mistake_is_named(self, options, message):
        folder = pathlib.Path(self.create_tempdir().full_path, "x")
        options = {"model": "tiny", "group": 32, "out": folder, **options}
        with self.assertRaisesRegex(UserError, message):
            export(**options)
        self.assertFalse(folder.exists())

    def test_what_the_format_cannot_hold_is_refused(self):
        from tfshrink.plan import Plan

        folder = pathlib.Path(self.create_tempdir().full_path)
        plan = Plan.parse("8", layers=2, group=32, kv={"codec": "int4"})
        plan.save(folder / "plan.json")
        for name, message in (
            ("litert", "must have rotated=true"),
            ("saved_model", "must not set kv"),
        ):
            with self.assertRaisesRegex(UserError, message):
                export(
                    model="tiny",
                    plan=str(folder / "plan.json"),
                    format=(name,),
                    out=folder / "x",
                )

    def test_litert_that_is_missing_is_one_error(self):
        folder = pathlib.Path(self.create_tempdir().full_path, "x")
        missing = mock.patch("importlib.util.find_spec", return_value=None)
        with missing, self.assertRaisesRegex(UserError, r"\[deploy\]"):
            export(model="tiny", group=32, out=folder)

    def test_a_folder_of_something_else_is_left_alone(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        (folder / "thesis.txt").write_text("years of work")
        with self.assertRaisesRegex(UserError, "holds something else"):
            export(model="tiny", group=32, out=folder, overwrite=True)
        self.assertEqual(os.listdir(folder), ["thesis.txt"])


class BinaryTest(TestCase):
    def test_export_and_generate(self):
        folder = pathlib.Path(self.create_tempdir().full_path, "out")

        def run(*command):
            return forks.run(command, check=True, cwd=ROOT)

        done = run(
            "bin/export", "--model=tiny", "--group=32", f"--out={folder}"
        )
        self.assertIn("litert", done.stdout)
        done = run(
            "bin/generate",
            f"--artifact={folder}",
            "--prompt=Once",
            "--max_new_tokens=8",
        )
        self.assertRegex(done.stderr, r"^\d tokens in .*\n$")
