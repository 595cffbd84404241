import contextlib
import csv
import io
import json
import pathlib

from tests.search import subjects
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.kv_spec import KVSpec
from tfshrink.plan import Plan
from tfshrink.search.certify import certify
from tfshrink.search.search import predicted_seconds
from tfshrink.search.search import prepare
from tfshrink.search.search import search
from tfshrink.search.search import Where
from tfshrink.search.search_report import print_search
from tfshrink.search.settings import SearchSettings
from tfshrink.structure import plan_tensor

LOOSE = "always(context >= 0.5) and always(attention >= 0.5)"
SMALL = ":block=8:window=8:sinks=2"
CHOICES = f"int2{SMALL},identity,int8{SMALL}"


def settings(**values):
    return SearchSettings(
        **{
            "bits": "8,4",
            "kv": CHOICES,
            "kv_length": 256,
            "iterations": 10,
            "seeds": 4,
            "prompts": 4,
            "tokens": 48,
            **values,
        }
    )


class KVSearchTest(TestCase):
    """A search among codecs of the K/V cache, and what it leaves."""

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.enterContext(subjects.own_cache(self.folder / "cache"))

    def test_from_a_search_to_a_certificate(self):
        subject = subjects.subject(formula=LOOSE, tokens=48)
        results, folder = search(
            subject, settings(), Where(results_dir=str(self.folder / "found"))
        )
        with contextlib.redirect_stdout(io.StringIO()) as out:
            print_search(results, folder, subject)
        self.assertIn("one sequence of 256 tokens", out.getvalue())
        self.assertIn("--tokens=48 --kv_length=256 --plan=", out.getvalue())
        rows = results["plans"]
        self.assertEqual(results["search"]["objectives"], ["memory", "margin"])
        self.assertGreater(len({row["kv"] for row in rows}), 1)
        sizes = [row["memory"] for row in rows]
        self.assertEqual(sizes, sorted(sizes))
        with open(f"{folder}/front.csv", encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
        problem = prepare(subject, settings())
        evaluator = problem.evaluator
        for row, line in zip(rows, table, strict=True):
            plan = Plan.load(f"{folder}/plans/{row['name']}.json")
            self.assertEqual(plan.hash, row["hash"])
            self.assertEqual(str(KVSpec.from_json(plan.kv)), row["kv"])
            self.assertEqual(line["kv"], row["kv"])
            self.assertEqual(int(line["kv_bytes"]), row["kv_bytes"])
            self.assertEqual(
                row["memory"], evaluator.cost(plan)["bytes"] + row["kv_bytes"]
            )
            signals = evaluator.judge.measure(
                plan_tensor(evaluator.config, plan), evaluator.codecs(plan.kv)
            ).signals
            least = signals["attention"].min() - 0.5
            self.assertAllClose(row["margin_attention"], least, atol=1e-4)
        file = self.folder / "c.json"
        plan = f"{folder}/plans/{rows[0]['name']}.json"
        made = certify(
            subject,
            plan,
            prompts=18,
            kv_length=256,
            output_file=file,
        )
        self.assertEqual(made["plans"][0]["kv"], rows[0]["kv"])
        self.assertEqual(made["plans"][0]["kv_bytes"], rows[0]["kv_bytes"])
        self.assertGreater(made["plans"][0]["kv_seen"], 0.4)
        self.assertEqual(json.loads(file.read_text("utf-8")), made)

    def test_codecs_are_one_more_variable(self):
        problem = prepare(subjects.subject(), settings())
        last = problem.space.variables[-1]
        names = [str(spec).partition(":")[0] for spec in last.options]
        self.assertEqual((last.kind, last.place), ("kv", "cache"))
        self.assertEqual(names, ["identity", "int8", "int2"])
        found = [
            problem.plan((*problem.space.start[:-1], level))
            for level in range(3)
        ]
        sizes = [problem.evaluator.cost(plan)["memory"] for plan in found]
        self.assertEqual(sizes, sorted(sizes, reverse=True))
        self.assertLen({plan.hash for plan in found}, 3)

    def test_other_methods_lower_the_cache_too(self):
        for method in ("greedy", "progressive"):
            results, _ = search(
                subjects.subject(formula="always(attention >= 0.1)"),
                settings(method=method, iterations=40, bits="8"),
                Where(results_dir=str(self.folder / method)),
                skip_sensitivity=True,
            )
            found = {row["kv"] for row in results["plans"]}
            self.assertIn(f"int2{SMALL}", found)

    def test_what_shows_nothing_is_refused(self):
        own = settings(tokens=16)
        place = self.folder / "none"
        with self.assertRaisesRegex(UserError, "`tokens` must be at least 17"):
            search(subjects.subject(), own, Where(results_dir=str(place)))
        self.assertFalse(place.exists())

    def test_prediction_is_of_a_plan_with_a_codec(self):
        own = predicted_seconds(subjects.subject(), settings())
        self.assertEqual(own["variables"], 10)
        self.assertGreater(own["seconds_a_plan"], 0.0)


class KVCertifyTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.enterContext(subjects.own_cache(self.folder / "cache"))
        plan = Plan.parse("8", layers=2, group=32)
        values = {**plan.to_json(), "kv": KVSpec.parse("int2").to_json()}
        self.plan = str(self.folder / "plan.json")
        Plan.from_json(values).save(self.plan)

    def test_prompts_that_are_too_short_are_refused(self):
        with self.assertRaisesRegex(UserError, "`tokens` must be at least 129"):
            certify(subjects.subject(), self.plan, prompts=4)

    def test_a_streamed_plan_has_no_codec(self):
        with self.assertRaisesRegex(UserError, "must set no kv where blocks"):
            certify(
                subjects.subject(tokens=144),
                self.plan,
                prompts=4,
                stream=True,
            )
