import csv
import json
import os
import pathlib
from unittest import mock

import numpy as np
from absl.testing import parameterized

from tests.search import subjects
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink import backend
from tfshrink.errors import UserError
from tfshrink.evaluation.results import read_results
from tfshrink.evaluation.squad import NEW_TOKENS
from tfshrink.plan import Plan
from tfshrink.search import search as search_lib
from tfshrink.search.findings import best_plan
from tfshrink.search.global_pruning import global_levels
from tfshrink.search.problem import Problem
from tfshrink.search.scores import AnswerScore
from tfshrink.search.scores import score_functions
from tfshrink.search.search import predicted_seconds
from tfshrink.search.search import prepare
from tfshrink.search.search import search
from tfshrink.search.search import Where
from tfshrink.search.settings import SearchSettings
from tfshrink.structure import plan_tensor

LOOSE = "always(context >= 0.8) and always(attention >= 0.7)"


def settings(**values):
    return SearchSettings(
        **{
            "bits": "8,4,3",
            "iterations": 16,
            "seeds": 4,
            "prompts": 4,
            "tokens": 32,
            **values,
        }
    )


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class SearchTest(TestCase):
    """One search, and whether what it left is true."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = cls.create_tempdir_of_class()
        cls.enterClassContext(subjects.own_cache(folder / "cache"))
        cls.subject = subjects.subject(formula=LOOSE)
        cls.where = Where(
            results_dir=str(folder / "found"),
            output_csv=str(folder / "copy" / "front.csv"),
        )
        cls.results, found = search(cls.subject, settings(), cls.where)
        cls.folder = pathlib.Path(found)

    @classmethod
    def create_tempdir_of_class(cls):
        import tempfile

        own = tempfile.TemporaryDirectory()
        cls.addClassCleanup(own.cleanup)
        return pathlib.Path(own.name)

    def test_front_is_what_no_row_of_the_log_beats(self):
        log = read_csv(self.folder / "log.csv")
        self.assertLen(log, 16)
        held = {
            row["hash"]: (float(row["bytes"]), -float(row["margin"]))
            for row in log
            if row["satisfied"] == "True"
        }
        self.assertNotEmpty(held)
        wanted = [
            key
            for key, own in held.items()
            if not any(
                other[0] <= own[0] and other[1] <= own[1] and other != own
                for other in held.values()
            )
        ]
        front = read_csv(self.folder / "front.csv")
        self.assertCountEqual([row["hash"] for row in front], wanted)
        sizes = [float(row["bytes"]) for row in front]
        self.assertEqual(sizes, sorted(sizes))

    def test_plans_are_judged_the_same_by_another_evaluator(self):
        evaluator = subjects.evaluator()
        for row in read_results(self.folder)["plans"]:
            plan = Plan.load(self.folder / "plans" / f"{row['name']}.json")
            self.assertEqual(plan, Plan.from_json(row["plan"]))
            bits = plan_tensor(evaluator.config, plan)
            signals = evaluator.judge.measure(bits).signals
            margins = {
                "context": signals["context"].min() - 0.8,
                "attention": signals["attention"].min() - 0.7,
            }
            self.assertAllClose(row["margin_context"], margins["context"])
            self.assertAllClose(row["margin_attention"], margins["attention"])
            self.assertAllClose(row["margin"], min(margins.values()))
            cost = evaluator.cost(plan)
            self.assertEqual(row["bytes"], cost["bytes"])
            self.assertEqual(row["bit_operations"], cost["bit_operations"])

    def test_results_stand_beside_full_precision(self):
        found = read_results(self.folder)
        reference = found["reference"]
        self.assertEqual(reference["bytes"], 2 * 106_816)
        self.assertAllClose(
            reference["perplexity"],
            subjects.evaluator().judge.reference_perplexity,
            rtol=1e-5,
        )
        for row in found["plans"]:
            self.assertAllClose(
                row["compression"], reference["bytes"] / row["bytes"]
            )
            self.assertAllClose(
                row["cost_ratio"],
                reference["scaled_flops"] / row["scaled_flops"],
            )
            self.assertAllClose(
                row["perplexity_ratio"],
                row["perplexity"] / reference["perplexity"],
            )

    def test_what_is_cheaper_if_thresholds_give_way(self):
        log = read_csv(self.folder / "log.csv")
        for row in self.results["search"]["relaxed"]:
            give = row["relax"]
            sizes = [
                float(own["bytes"])
                for own in log
                if float(own["margin_context"]) >= -0.8 * give
                and float(own["margin_attention"]) >= -0.7 * give
            ]
            self.assertEqual(row["bytes"], min(sizes))

    def test_sensitivity_of_the_widths_is_measured_first(self):
        text = (self.folder / "sensitivity.json").read_text("utf-8")
        rows = json.loads(text)["rows"]
        self.assertEqual({row["bits"] for row in rows}, {8, 4, 3})
        self.assertLen(rows, 9 * 3)

    def test_folder_holds_nothing_half_written(self):
        self.assertCountEqual(
            os.listdir(self.folder),
            [
                "config.json",
                "front.csv",
                "front.png",
                "log.csv",
                "plans",
                "results.json",
                "sensitivity.json",
                "study.db",
            ],
        )
        names = [f"{row['name']}.json" for row in self.results["plans"]]
        self.assertCountEqual(os.listdir(self.folder / "plans"), names)

    def test_a_further_copy_is_the_front(self):
        self.assertEqual(
            read_csv(self.where.output_csv),
            read_csv(self.folder / "front.csv"),
        )

    def test_the_best_plan_is_the_smallest_on_the_front(self):
        row = min(self.results["plans"], key=lambda row: row["bytes"])
        self.assertEqual(best_plan(self.results).hash, row["hash"])

    @parameterized.parameters("kl", "perplexity", "margin")
    def test_the_best_plan_is_a_cheap_one(self, first):
        # Sorted by quality, as a front of such objectives is: best first.
        rows = [
            {"plan": Plan.parse(bits, layers=2).to_json(), "bytes": size}
            for bits, size in (("8", 8.0), ("6", 6.0), ("4", 4.0))
        ]
        own = {"feasible": True, "objectives": [first, "bytes"]}
        found = best_plan({"search": own, "plans": rows})
        self.assertEqual(found.bits[0], 4)

    @parameterized.parameters(
        ({"formula": "always(context >= 0.7)"}, {}),
        ({"relax_thresholds": 0.1}, {}),
        ({"group": 64}, {}),
        ({}, {"objectives": "scaled_flops,margin"}),
        ({}, {"pruning": ".5"}),
    )
    def test_another_search_does_not_go_on_with_it(self, changes, values):
        subject = subjects.subject(**{"formula": LOOSE, **changes})
        where = Where(results_dir=str(self.folder), resume=True)
        before = (self.folder / "config.json").read_bytes()
        with self.assertRaisesRegex(UserError, "name another --study_name"):
            search(subject, settings(**values), where, skip_sensitivity=True)
        self.assertEqual((self.folder / "config.json").read_bytes(), before)


class PrepareTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.enterContext(subjects.own_cache(self.folder / "cache"))

    def test_pruned_and_removed_parts_are_judged_and_priced(self):
        problem = prepare(
            subjects.subject(), settings(pruning=".3,.5", structured=True)
        )
        space = problem.space
        self.assertLen(space, 9 + 8 + 2 + 2)
        whole = problem.record(space.start)
        for place, kind in ((9, "pruning"), (17, "heads"), (19, "channels")):
            self.assertEqual(space.variables[place].kind, kind)
            last = len(space.variables[place].options) - 1
            point = space.moved(space.start, place, last)
            found = problem.record(point)
            self.assertTrue(getattr(problem.plan(point), kind))
            self.assertLess(found["scaled_flops"], whole["scaled_flops"])
            self.assertNotEqual(found["perplexity"], whole["perplexity"])

    def test_one_threshold_for_all_is_that_of_the_model(self):
        problem = prepare(
            subjects.subject(), settings(pruning=".5", pruning_scope="global")
        )
        self.assertLen(problem.space, 9 + 1)
        plan = problem.plan((0,) * 9 + (1,))
        wanted = global_levels(problem.evaluator.model, 0.5)
        self.assertAllClose(plan.pruning, wanted)
        self.assertEqual(problem.plan(problem.space.start).pruning, ())

    def test_latency_is_measured_where_it_is_an_objective(self):
        own = settings(objectives="latency,margin")
        with mock.patch(
            "tfshrink.deploy.litert.product_times.ProductTimes"
        ) as times:
            times.return_value.seconds.side_effect = lambda plan: sum(plan.bits)
            (score,) = score_functions(subjects.evaluator(), own)
            found = score(subjects.evaluator().uniform(4))
        times.assert_called_once_with(subjects.evaluator().config, 32)
        self.assertEqual(found, {"latency": 4 * 9})
        self.assertEqual(score_functions(subjects.evaluator(), settings()), ())

    @parameterized.parameters(
        ({}, {"pruning": ".5", "bits": "8,2"}, "grid has no zero"),
        ({"formula": "always(jsd_mean99 <= 0.1)"}, {}, "99 tokens"),
        ({"model": "tini"}, {}, "Did you mean `tiny`"),
        ({"data": "no/such.txt"}, {}, "no/such.txt"),
        ({"group": 48}, {}, "group"),
    )
    def test_a_mistake_leaves_nothing_behind(self, changes, values, message):
        place = self.folder / "found"
        with self.assertRaisesRegex(UserError, message):
            search(
                subjects.subject(**changes),
                settings(**values),
                Where(results_dir=str(place)),
            )
        self.assertFalse(place.exists())

    @parameterized.parameters("missing.json", "other.json")
    def test_a_sensitivity_that_does_not_fit_leaves_nothing(self, name):
        identity = {"model": {"name": "another"}, "run": None}
        values = {"version": 1, "identity": identity, "names": [], "rows": []}
        (self.folder / "other.json").write_text(json.dumps(values))
        place = self.folder / "found"
        with self.assertRaisesRegex(UserError, f"sensitivity_file.*{name}"):
            search(
                subjects.subject(),
                settings(),
                Where(results_dir=str(place)),
                sensitivity_file=str(self.folder / name),
            )
        self.assertFalse(place.exists())

    def test_a_storage_that_cannot_be_read_leaves_nothing(self):
        (self.folder / "study.db").write_bytes(b"no database" * 100)
        place = self.folder / "found"
        with self.assertRaisesRegex(UserError, "`storage` must be"):
            search(
                subjects.subject(),
                settings(),
                Where(
                    results_dir=str(place),
                    storage=str(self.folder / "study.db"),
                ),
            )
        self.assertFalse(place.exists())

    def test_prediction_counts_the_changes_of_bits(self):
        with mock.patch.object(
            search_lib, "prepare", wraps=search_lib.prepare
        ) as prepared:
            own = predicted_seconds(
                subjects.subject(), settings(structured=True)
            )
        self.assertEqual(prepared.call_count, 1)
        self.assertEqual((own["variables"], own["prompts"]), (13, 4))
        self.assertAllClose(own["search_seconds"], 16 * own["seconds_a_plan"])
        # 9 layer groups at 3 widths, of which .6 of the blocks run.
        changes = own["sensitivity_seconds"] / (0.6 * own["seconds_a_plan"])
        self.assertAllClose(changes, 9 * 3, rtol=1e-6)


class AnswersTest(TestCase):
    """F1 of a search is that of plain greedy decoding."""

    def greedy_text(self, prompt, bits):
        """What the model says next, one whole call a token."""
        tokens = np.zeros((1, 128), "int32")  # what follows is not looked at
        tokens[0, : len(prompt)] = prompt
        for place in range(len(prompt), len(prompt) + NEW_TOKENS):
            logits = to_numpy(self.call(tokens, bits))
            tokens[0, place] = logits[0, place - 1].argmax()
        found = tokens[0, len(prompt) : len(prompt) + NEW_TOKENS].tolist()
        self.assertNoCommonElements(found, subjects.evaluator().config.eos)
        return self.tokenizer.decode(found).strip()

    def test_answers_of_a_plan_are_right_where_they_are_its_own(self):
        evaluator = subjects.evaluator()
        model = evaluator.model
        self.call = backend.Compiled(model, model.variables)
        self.tokenizer = evaluator.candidate.source.tokenizer()
        path = pathlib.Path(self.create_tempdir().full_path, "dev.json")
        own = settings(
            method="greedy", metric="f1", f1_data=str(path), f1_questions=3
        )
        qas = [
            {"id": str(n), "question": f"Is it {n}?", "answers": [{"text": ""}]}
            for n in range(3)
        ]
        paragraph = {"context": "Ada Lovelace wrote it.", "qas": qas}
        data = {"data": [{"paragraphs": [paragraph]}]}
        path.write_text(json.dumps(data))
        prompts = AnswerScore(evaluator, own).prompts
        bits = plan_tensor(evaluator.config, evaluator.uniform(8))
        for prompt, question in zip(prompts, qas, strict=True):
            text = self.greedy_text(prompt, bits).splitlines()[0]
            self.assertRegex(text, r"\w")
            question["answers"] = [{"text": text}]
        path.write_text(json.dumps(data))
        (score,) = score_functions(evaluator, own)
        found = score(evaluator.uniform(8))
        self.assertEqual((found["exact_match"], found["f1"]), (100.0, 100.0))
        self.assertLess(score(evaluator.uniform(3))["f1"], 100.0)
        space = mock.Mock(start=(0,))
        problem = Problem(evaluator, space, own, scores=(score,))
        space.fields.side_effect = lambda point: ([(8, 3)[point[0]]] * 9, {})
        self.assertEqual(problem.record((0,))["f1"], 100.0)
        self.assertLess(problem.record((1,))["f1"], 100.0)
