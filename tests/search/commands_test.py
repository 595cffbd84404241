import contextlib
import csv
import io
import json
import os
import pathlib

import numpy as np
from absl.testing import parameterized
from scipy import stats

from tests import forks
from tests.evaluation.evaluate_test import write_run
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.plan import Plan
from tfshrink.report.report import report
from tfshrink.search import command
from tfshrink.search.certify import certify
from tfshrink.search.measure import sensitivity
from tfshrink.search.search import search
from tfshrink.search.search import Where
from tfshrink.search.sensitivity import Sensitivity
from tfshrink.search.settings import SearchSettings
from tfshrink.search.subject import Subject
from tfshrink.stl.certificate import violation_bound

ROOT = pathlib.Path(__file__).parents[2]
SMALL = {"prompts": 6, "tokens": 32, "group": 32}


def read_csv(folder, name):
    text = pathlib.Path(folder, name).read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


class CertificateTest(TestCase):
    @parameterized.parameters((0, 300), (3, 300), (233, 300), (1, 2))
    def test_bound_is_scipys_clopper_pearson(self, violations, count):
        # A one-sided bound at 97.5 % is the end of a two-sided one at 95 %.
        wanted = stats.binomtest(violations, count).proportion_ci(0.95)
        found = violation_bound(violations, count, 0.975)
        self.assertAllClose(found, wanted.high, rtol=1e-9)

    def test_where_all_violate_there_is_no_bound(self):
        self.assertEqual(violation_bound(5, 5), 1.0)


class CommandsTest(TestCase):
    """Sensitivity, search, certificate and report, one after the other."""

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        os.environ["TFSHRINK_CACHE"] = str(self.folder / "cache")
        self.addCleanup(os.environ.pop, "TFSHRINK_CACHE")

    def test_from_a_run_to_a_report(self):
        run = str(self.folder / "run")
        write_run(run, gain=0.02)
        subject = Subject(workdir=run, prompts=6, tokens=32)
        found, path = sensitivity(subject, bits="8,4", pruning=".5,2of4")
        self.assertEqual(path, pathlib.Path(run, "sensitivity.json"))
        self.assertLen(found.rows, 9 * 2 + 8 * 2)
        self.assertLess(found.info["blocks_run"], found.info["blocks_of_all"])
        self.assertGreater(found.info["correlation"], 0.5)
        self.assertTrue(path.with_suffix(".png").read_bytes()[:4] == b"\x89PNG")
        again = Sensitivity.load(path, found.identity)
        self.assertEqual(again.rows[0]["kl"], found.rows[0]["kl"])

        settings = SearchSettings(
            bits="8,4", iterations=24, seeds=4, prompts=6, tokens=32
        )
        place = Where(results_dir=str(self.folder / "found"))
        results, folder = search(subject, settings, place)
        self.assertEqual(results["search"]["judged"], 24)
        rows = read_csv(folder, "front.csv")
        self.assertLen(rows, len(results["plans"]))
        for row, own in zip(rows, results["plans"], strict=True):
            plan = Plan.load(f"{folder}/plans/{row['plan']}.json")
            self.assertEqual(plan.hash, row["hash"])
            self.assertEqual(plan, Plan.from_json(own["plan"]))
        log = read_csv(folder, "log.csv")
        self.assertLen(log, 24)

        with self.assertRaisesRegex(UserError, "must be new or empty"):
            search(subject, settings, place)
        other = SearchSettings(**{**settings.to_json(), "bits": "8"})
        resumed = Where(results_dir=folder, resume=True)
        with self.assertRaisesRegex(UserError, "of another model, run"):
            search(subject, other, resumed)

        plan = f"{folder}/plans/front-01.json"
        target = str(self.folder / "certificate.json")
        made = certify(subject, f"{plan};8", prompts=20, output_file=target)
        self.assertEqual(made["tests"], 2 * 5)
        self.assertEqual(made["prompts"]["count"], 20)
        self.assertEqual(made["plans"][0]["plan_hash"], Plan.load(plan).hash)
        own = made["plans"][0]["properties"]["all"]
        bound = violation_bound(own["violations"], 20, 1 - 0.05 / 10)
        self.assertAllClose(own["bound"], bound)
        worst = made["plans"][0]["worst"]
        margins = [row["margin"] for row in worst]
        self.assertEqual(margins, sorted(margins))
        names = set(made["plans"][0]["properties"]) - {"all"}
        for row in worst:
            over = row["over_tokens"]
            self.assertCountEqual(over, names)
            lowest = min(over[row["property"]])
            self.assertAllClose(lowest, row["margin"], atol=1e-5)
            self.assertLen(over["attention"], 32)
        self.assertEqual(json.loads(pathlib.Path(target).read_text()), made)

        page = str(self.folder / "page.html")
        count, problems = report([run, folder, target], page)
        self.assertEqual(count, 3)
        self.assertIn("must hold results.json", problems[0])  # no more of it
        text = pathlib.Path(page).read_text("utf-8")
        for part in ("front-01", "Certificate", "data:image/png", "sensitiv"):
            self.assertIn(part, text)
        self.assertNotIn("http://", text.replace("http://www.w3.org", ""))

    def test_a_streamed_certificate_is_that_of_the_whole_model(self):
        subject = Subject(model="tiny", **SMALL)
        found = [
            certify(
                subject,
                "8;4",
                prompts=18,
                stream=stream,
                output_file=str(self.folder / "c.json"),
            )
            for stream in (False, True)
        ]
        for whole, own in zip(
            found[0]["plans"], found[1]["plans"], strict=True
        ):
            for name, rates in whole["properties"].items():
                other = own["properties"][name]
                self.assertEqual(other["violations"], rates["violations"])
                self.assertAllClose(
                    other["worst_margin"], rates["worst_margin"], atol=1e-4
                )

    def test_sensitivity_of_another_model_is_refused(self):
        subject = Subject(model="tiny", **SMALL)
        path = str(self.folder / "own.json")
        sensitivity(subject, bits="8", output_file=path, estimate=False)
        with self.assertRaisesRegex(UserError, "must be new"):
            sensitivity(subject, bits="8", output_file=path)
        values = json.loads(pathlib.Path(path).read_text())
        with self.assertRaisesRegex(UserError, "of the model that is searched"):
            Sensitivity.load(path, {"model": "another"})
        values["version"] = 0
        pathlib.Path(path).write_text(json.dumps(values))
        with self.assertRaisesRegex(UserError, "of version 1"):
            Sensitivity.load(path)
        pathlib.Path(path).write_text("{")
        with self.assertRaisesRegex(UserError, "a file of bin/sensitivity"):
            Sensitivity.load(path)

    def test_nothing_feasible_is_said(self):
        subject = Subject(model="tiny", formula="always(factual >= 5)", **SMALL)
        settings = SearchSettings(
            bits="8,4", iterations=6, seeds=3, prompts=6, tokens=32
        )
        results, _ = search(
            subject,
            settings,
            Where(results_dir=str(self.folder / "none")),
            skip_sensitivity=True,
        )
        self.assertFalse(results["search"]["feasible"])
        self.assertNotEmpty(results["plans"])
        violations = [row["violation"] for row in results["plans"]]
        self.assertGreater(min(violations), 0.0)

    def test_several_models_are_searched_each_by_itself(self):
        values = {
            **SearchSettings().to_json(),
            "bits": "8,4",
            "iterations": 4,
            "seeds": 2,
            "prompts": 6,
            "tokens": 32,
        }
        places = {"results_dir": str(self.folder / "both")}
        names = ("tiny", "tiny-gpt2")
        with contextlib.redirect_stdout(io.StringIO()) as out:
            command.run(
                [Subject(model=name, **SMALL) for name in names],
                values,
                places,
                skip_sensitivity=True,
            )
        rows = read_csv(self.folder / "both", "models.csv")
        self.assertEqual({row["model"] for row in rows}, set(names))
        for name in names:
            own = read_csv(self.folder / "both" / name, "front.csv")
            wanted = [row["bytes"] for row in rows if row["model"] == name]
            sizes = [float(row["bytes"]) for row in own]
            self.assertAllClose(sizes, [float(size) for size in wanted])
        self.assertIn("each against its own full precision", out.getvalue())

    def test_latency_comes_from_measured_products(self):
        subject = Subject(model="tiny", **SMALL)
        settings = SearchSettings(
            bits="8,4",
            iterations=5,
            seeds=3,
            prompts=6,
            tokens=32,
            objectives="latency,kl",
        )
        results, folder = search(
            subject,
            settings,
            Where(results_dir=str(self.folder / "latency")),
            skip_sensitivity=True,
        )
        rows = read_csv(folder, "log.csv")
        times = [float(row["latency"]) for row in rows]
        self.assertTrue(np.all(np.array(times) > 0))
        self.assertGreater(len(set(times)), 2)


class BinariesTest(TestCase):
    def run_binary(self, name, *arguments):
        return forks.run(
            [ROOT / "bin" / name, *arguments],
            cwd=self.create_tempdir().full_path,
        )

    @parameterized.parameters(
        ("search", "--method=gredy", "Did you mean `greedy`"),
        ("search", "--formula=always(jsd <= ", "^"),
        ("search", "--formula=always(jds <= 0.1)", "Did you mean `jsd`"),
        ("sensitivity", "--formula=always(jsd <= 0.9)", "0..0.6931"),
        ("sensitivity", "--relax_thresholds=.5", "must lie in 0..0.2"),
        ("certify", "--plan=8 --formula=always(jsd_mean99<=0.1)", "99 tokens"),
        ("certify", "--prompts=20", "`plan` or `artifact`"),
        ("search", "--workdir=nowhere", "config.json of a run"),
        ("search", "--objectives=speed", "`objectives` must be one of"),
        ("report", "nowhere", "does not exist"),
    )
    def test_mistakes_are_one_clear_error(self, name, arguments, message):
        own = arguments.split(" --") if "--plan" in arguments else [arguments]
        own = [own[0], *(f"--{part}" for part in own[1:])]
        subject = ["--model=tiny", "--group=32"]
        plain = name == "report" or "workdir" in arguments
        done = self.run_binary(name, *([] if plain else subject), *own)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(message, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertEqual(done.stdout, "")

    def test_dry_runs_write_nothing(self):
        for name, more in (
            ("search", ["--bits=8,4"]),
            ("sensitivity", ["--bits=8,4"]),
            ("certify", ["--plan=8"]),
        ):
            done = self.run_binary(
                name, "--model=tiny", "--group=32", "--dry_run", *more
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("othing written", done.stdout)
