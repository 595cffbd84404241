import dataclasses
import functools
import json
from unittest import mock

import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.analysis.robustness import study
from tfshrink.analysis.robustness.robustness_meter import RobustnessMeter
from tfshrink.analysis.robustness.settings import RobustnessSettings
from tfshrink.analysis.robustness.table import COLUMNS
from tfshrink.analysis.robustness.table import FORMATS
from tfshrink.analysis.robustness.table import robustness_rows
from tfshrink.data.pack import windows
from tfshrink.errors import UserError
from tfshrink.evaluation.candidate import model_candidates
from tfshrink.evaluation.quality_meter import QualityMeter
from tfshrink.evaluation.table import markdown_table
from tfshrink.models.load import load_model

SMALL = RobustnessSettings(
    limit=5, context=16, batch_size=4, steps=2, resamples=99
)


def candidate(plans="8;4"):
    """The tiny model, its weights as they are, no text behind it."""
    return model_candidates("tiny", plans, group=64, scales="rtn")[0]


def examples():
    random = np.random.default_rng(0)
    return windows(random.integers(3, 512, 76), 16, 15)


@functools.cache
def found(**changes):
    """What a study of the tiny model finds: measured once."""
    settings = dataclasses.replace(SMALL, **changes)
    return study.robustness_study(
        candidate=candidate(), settings=settings, examples=examples()
    )


class RobustnessStudyTest(TestCase):
    def test_results_are_plain_and_complete(self):
        results = found()
        self.assertEqual(json.loads(json.dumps(results))["windows"], 5)
        self.assertEqual(results["tokens"], 75)
        self.assertEqual([x["name"] for x in results["plans"]], ["8", "4"])
        kinds = [*SMALL.attacks, *SMALL.noises]
        for own in [results["reference"], *results["plans"]]:
            self.assertEqual([x["kind"] for x in own["conditions"]], kinds)
        defence = results["random_precision"]
        self.assertEqual(sum(defence["drawn"].values()), 5)
        aims = [(kind, x) for kind in SMALL.attacks for x in ("4", "8", None)]
        self.assertEqual(
            [(x["kind"], x["plan"]) for x in defence["conditions"]], aims
        )
        self.assertAllClose(
            results["epsilon_absolute"], [0.05 * results["embedding_rms"]]
        )

    def test_clean_figures_are_those_of_an_evaluation(self):
        model = load_model("tiny")
        expected = QualityMeter(model, examples()).measure()
        clean = found()["reference"]["clean"]
        for name in ("perplexity", "nats_per_token", "token_accuracy"):
            self.assertAllClose(clean[name]["value"], expected[name], rtol=1e-5)

    def test_changes_fit_the_levels(self):
        results = found()
        reference = results["reference"]
        for plan in results["plans"]:
            for own, whole in zip(
                plan["conditions"], reference["conditions"], strict=True
            ):
                nats = own["nats_per_token"]["value"]
                rise = nats - plan["clean"]["nats_per_token"]["value"]
                other = whole["against_clean"]["nats_rise"]["value"]
                self.assertAllClose(
                    own["against_clean"]["nats_rise"]["value"], rise, atol=1e-5
                )
                self.assertAllClose(
                    own["excess"]["nats_rise"]["value"], rise - other, atol=1e-5
                )
                self.assertAllClose(
                    own["against_full_precision"]["nats_rise"]["value"],
                    nats - whole["nats_per_token"]["value"],
                    atol=1e-5,
                )

    def test_the_order_of_conditions_and_plans_changes_nothing(self):
        def by_name(results):
            rows = [
                (own["name"], json.dumps(row, sort_keys=True))
                for own in [results["reference"], *results["plans"]]
                for row in [own["clean"], *own["conditions"]]
            ]
            defence = results["random_precision"]
            rows += [
                ("random", json.dumps(row, sort_keys=True))
                for row in [defence["clean"], *defence["conditions"]]
            ]
            return sorted(rows)

        backwards = study.robustness_study(
            candidate=candidate("4;8"),
            settings=dataclasses.replace(
                SMALL, attacks=SMALL.attacks[::-1], noises=SMALL.noises[::-1]
            ),
            examples=examples(),
        )
        self.assertEqual(
            [x["kind"] for x in backwards["plans"][0]["conditions"]],
            [*SMALL.attacks[::-1], *SMALL.noises[::-1]],
        )
        self.assertEqual(by_name(backwards), by_name(found()))

    def test_progress_counts_all_that_runs(self):
        count = []

        def start(self, *args):
            self.on_rows = lambda rows, tokens: count.append(rows)

        own = RobustnessMeter.__init__

        def watched(self, *args):
            own(self, *args)
            start(self)

        settings = dataclasses.replace(
            SMALL, noises=("random_signs",), attacker_samples=1
        )
        with mock.patch.object(RobustnessMeter, "__init__", watched):
            study.robustness_study(
                candidate=candidate(), settings=settings, examples=examples()
            )
        self.assertEqual(sum(count), 5 * study.passes(settings, 2))

    def test_table(self):
        rows = robustness_rows(found())
        text = markdown_table(rows, COLUMNS, formats=FORMATS)
        self.assertLen(text.splitlines(), 2 + 3 * 9 + 1 + 6)
        self.assertIn("| random precision | pgd on all plans | 0.05 |", text)
        worst = max(rows, key=lambda row: row.get("ratio", 0))
        self.assertStartsWith(worst["condition"], "pgd")

    def test_one_plan_has_nothing_to_draw(self):
        settings = dataclasses.replace(SMALL, attacks=(), noises=())
        results = study.robustness_study(
            candidate=candidate("8"), settings=settings, examples=examples()
        )
        self.assertIsNone(results["random_precision"])
        self.assertEqual(results["plans"][0]["conditions"], [])


class BadInputTest(TestCase):
    @parameterized.parameters("row", "batch")
    def test_one_plan_is_no_defence(self, every):
        with self.assertRaisesRegex(
            UserError, "`random_precision` must have at least two .*: 8"
        ):
            study.robustness_study(
                candidate=candidate("8"),
                settings=RobustnessSettings(random_precision=every),
            )

    def test_a_plan_twice(self):
        own = candidate("8")
        with self.assertRaisesRegex(UserError, "`plan` must name .* once.*: 8"):
            study.robustness_study(
                candidate=dataclasses.replace(own, plans=own.plans * 2)
            )

    def test_plans_with_a_codec(self):
        own = candidate("8")
        plan = dataclasses.replace(own.plans[0], kv={"codec": "int8"})
        with self.assertRaisesRegex(UserError, "`plan` 8 must have no kv"):
            study.robustness_study(
                candidate=dataclasses.replace(own, plans=[plan])
            )

    def test_a_context_the_model_lacks(self):
        with self.assertRaisesRegex(UserError, "`context` must be at most"):
            study.robustness_study(
                candidate=candidate("8"),
                settings=RobustnessSettings(context=100_000),
            )

    def test_one_window_has_no_interval(self):
        with self.assertRaisesRegex(UserError, "at least 2 windows"):
            study.robustness_study(
                candidate=candidate("8"), examples=examples()[:1]
            )
