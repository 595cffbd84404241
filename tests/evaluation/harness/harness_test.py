"""Tasks through lm_eval itself, where it is installed."""

import contextlib
import importlib.util
import io
import json
import pathlib
import sys
import unittest
import warnings
from unittest import mock

from absl.testing import parameterized

from tests.test_case import ON_TENSORFLOW
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.evaluation.evaluate import evaluate
from tfshrink.evaluation.evaluate_report import print_report
from tfshrink.evaluation.harness.harness import Harness
from tfshrink.evaluation.harness.report import harness_rows
from tfshrink.evaluation.protocol import Protocol

INSTALLED = importlib.util.find_spec("lm_eval") is not None
CHOICE = """
task: little_choice
dataset_path: json
dataset_kwargs:
  data_files:
    test: choice.jsonl
output_type: multiple_choice
test_split: test
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list:
  - metric: acc
  - metric: acc_norm
metadata:
  version: 3.0
"""
ROLLING = """
task: little_rolling
dataset_path: json
dataset_kwargs:
  data_files:
    test: choice.jsonl
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list:
  - metric: word_perplexity
  - metric: bits_per_byte
"""
TEXT = """
task: little_text
dataset_path: json
dataset_kwargs:
  data_files:
    test: choice.jsonl
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{choices[0]}}"
generation_kwargs:
  until: ["."]
  max_gen_toks: 4
metric_list:
  - metric: exact_match
"""
DOCUMENTS = [
    {
        "question": f"What is {i} and {i}?",
        "choices": [f" It is {i + i}", " Nothing", " A fish"],
        "answer": i % 3,
    }
    for i in range(5)
]


def write_tasks(folder):
    """Three task files and the one data file they name by its own name."""
    folder = pathlib.Path(folder)
    for name, text in (("a", CHOICE), ("b", ROLLING), ("c", TEXT)):
        (folder / f"{name}.yaml").write_text(text)
    lines = [json.dumps(document) for document in DOCUMENTS]
    (folder / "choice.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder)


@unittest.skipUnless(INSTALLED, "lm_eval is not installed")
@unittest.skipUnless(ON_TENSORFLOW, "one backend is enough")
class HarnessTest(TestCase):
    def setUp(self):
        super().setUp()
        self.enterContext(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # what the harness itself gives
        import datasets

        cache = pathlib.Path(self.create_tempdir().full_path)
        config = mock.patch.object(datasets.config, "HF_DATASETS_CACHE", cache)
        self.enterContext(config)
        self.folder = write_tasks(self.create_tempdir().full_path)

    def evaluate(self, *names, **options):
        return evaluate(
            model="tiny",
            group=32,
            tasks=tuple(f"lm_eval:{name}" for name in names),
            lm_eval_tasks=self.folder,
            context=64,
            **options,
        )

    def test_a_plan_answers_all_kinds_of_task(self):
        results = self.evaluate(
            "little_choice", "little_rolling", "little_text", plan="8", limit=4
        )
        (row,) = results["plans"]
        found = row["lm_eval"]["tasks"]
        self.assertEqual(
            sorted(found), ["little_choice", "little_rolling", "little_text"]
        )
        choice = found["little_choice"]
        self.assertEqual((choice["version"], choice["samples"]), (3.0, 4))
        accuracy = choice["metrics"]["acc"]
        share = accuracy["value"]
        self.assertIn(share, (0.0, 0.25, 0.5, 0.75, 1.0))
        # The harness's own standard error of a share of 4.
        self.assertAllClose(
            accuracy["stderr"], (share * (1 - share) / 3) ** 0.5
        )
        self.assertTrue(accuracy["higher_is_better"])
        rolling = found["little_rolling"]["metrics"]
        self.assertGreater(rolling["word_perplexity"]["value"], 1.0)
        self.assertIsNone(rolling["word_perplexity"]["stderr"])
        reference = results["reference"]["lm_eval"]["tasks"]
        bits = rolling["bits_per_byte"]["value"]
        theirs = reference["little_rolling"]["metrics"]["bits_per_byte"]
        self.assertNotEqual(bits, theirs["value"])
        self.assertAllClose(bits, theirs["value"], rtol=0.02)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            print_report(json.loads(json.dumps(results)))
        for text in ("lm-evaluation-harness 0.", "little_choice", "stderr"):
            self.assertIn(text, out.getvalue())
        self.assertLen(harness_rows(results["plans"]), 5)

    @unittest.skipUnless(
        importlib.util.find_spec("ai_edge_litert"), "LiteRT is not installed"
    )
    def test_an_export_answers_as_its_simulation(self):
        from tfshrink.deploy.export import export

        out = pathlib.Path(self.create_tempdir().full_path, "four")
        export(model="tiny", plan="4", group=32, out=out)
        names = "little_choice", "little_rolling", "little_text"
        results = self.evaluate(*names, artifact=[str(out)], plan="4", limit=3)
        simulated, exported = results["plans"]
        own, other = (
            {
                (task, name): metric["value"]
                for task, found in plan["lm_eval"]["tasks"].items()
                for name, metric in found["metrics"].items()
            }
            for plan in (simulated, exported)
        )
        self.assertEqual(list(own), list(other))
        for key, value in own.items():
            # The file rounds inputs to int8, the simulation does not.
            self.assertAllClose(value, other[key], rtol=0.1)

    def test_unknown_names_and_missing_data_are_one_error(self):
        with self.assertRaisesRegex(
            UserError, "Received: 'little_choise'. Did you mean `lm_eval:little"
        ) as caught:
            Harness.load(["little_choise"], folder=self.folder)
        self.assertLess(len(str(caught.exception)), 300)
        pathlib.Path(self.folder, "choice.jsonl").unlink()
        with self.assertRaisesRegex(UserError, "its data at hand"):
            Harness.load(["little_choice"], folder=self.folder)

    def test_a_folder_that_is_none_is_refused(self):
        with self.assertRaisesRegex(UserError, "`lm_eval_tasks` must be"):
            Harness.load(["little_choice"], folder=f"{self.folder}/none")


class ProtocolTest(TestCase):
    def test_harness_tasks_stand_beside_our_own(self):
        tasks = ("speed", "lm_eval:a", "perplexity", "lm_eval:b")
        protocol = Protocol(tasks=tasks)
        self.assertEqual(protocol.own_tasks, ("speed", "perplexity"))
        self.assertEqual(protocol.harness_tasks, ("a", "b"))

    @parameterized.parameters(
        ({"tasks": ("hellaswag",)}, "one of lm_eval:NAME, perplexity"),
        ({"lm_eval_tasks": "x"}, "goes with a task lm_eval:NAME"),
    )
    def test_mistake_is_named(self, options, message):
        with self.assertRaisesRegex(UserError, message):
            Protocol(**options)

    def test_a_missing_package_is_one_error(self):
        with mock.patch.dict(sys.modules, {"lm_eval.tasks": None}):
            with self.assertRaisesRegex(UserError, "needs the package lm_eval"):
                Harness.load(["hellaswag"])


if __name__ == "__main__":
    unittest.main()
