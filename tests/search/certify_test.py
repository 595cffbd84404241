import json
import os
import pathlib
import shutil
import tempfile

import numpy as np
from absl.testing import parameterized

from tests.search import subjects
from tests.test_case import ON_TENSORFLOW
from tests.test_case import TestCase
from tfshrink.deploy.artefact import Artefact
from tfshrink.deploy.artefact import digest
from tfshrink.deploy.export import export
from tfshrink.errors import UserError
from tfshrink.files import sha256_json
from tfshrink.plan import Plan
from tfshrink.search.certify import certify
from tfshrink.search.certify import step_seconds
from tfshrink.stl.certificate import violation_bound
from tfshrink.stl.plan_judge import PlanJudge
from tfshrink.stl.reference import reference_run
from tfshrink.structure import plan_tensor

BOTH = "always(jsd_mean16 <= 0.004) and always(factual_mean16 >= 0.9)"


def prompts_of(count, **changes):
    """The prompts of a certificate, and those of a search."""
    own = subjects.subject(**changes)
    tokenizer = own.candidate((8,)).source.tokenizer()
    return [
        own.load_prompts(tokenizer, split, count)
        for split in ("test", "search")
    ]


class CertifyTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.file = self.folder / "c.json"
        self.enterContext(subjects.own_cache(self.folder / "cache"))

    def test_violations_are_those_of_all_prompts_at_once(self):
        own = subjects.subject(formula=BOTH)
        found = certify(own, "8;3", prompts=20, output_file=self.file)
        text, _ = prompts_of(20)
        evaluator = subjects.evaluator()
        run = reference_run(evaluator.candidate.source, text)
        judge = PlanJudge(evaluator.model, text, run)
        for row, bits in zip(found["plans"], (8, 3), strict=True):
            plan = evaluator.plan([bits] * 8 + [8])
            self.assertEqual(row["plan_hash"], plan.hash)
            self.assertEqual(row["kind"], "simulated plan")
            signals = judge.measure(plan_tensor(evaluator.config, plan)).signals
            margins = {"jsd_mean16": [], "factual_mean16": []}
            for prompt, length in enumerate(text.lengths):
                windows = range(16, length + 1)
                jsd, factual = (
                    [signals[name][prompt, i - 16 : i].mean() for i in windows]
                    for name in ("jsd", "factual")
                )
                margins["jsd_mean16"].append(0.004 - max(jsd))
                margins["factual_mean16"].append(min(factual) - 0.9)
            margins["all"] = np.min(list(margins.values()), axis=0)
            for name, values in margins.items():
                rates = row["properties"][name]
                violations = int(np.sum(np.array(values) < 0))
                self.assertEqual(rates["violations"], violations, name)
                self.assertAllClose(rates["worst_margin"], min(values), 1e-3)
                bound = violation_bound(violations, 20, 1 - 0.05 / 6)
                self.assertAllClose(rates["bound"], bound)
            worst = np.argsort(margins["all"])[:5]
            self.assertEqual([w["prompt"] for w in row["worst"]], list(worst))
            for shown in row["worst"]:
                self.assertIn(f"token {shown['token']} by", shown["why"])
        counts = [row["properties"]["all"] for row in found["plans"]]
        self.assertBetween(counts[1]["violations"], 1, 20)
        self.assertEqual(counts[0]["violations"], 0)
        self.assertEqual(json.loads(self.file.read_text("utf-8")), found)

    def test_it_says_which_prompts_and_none_of_them_was_searched_on(self):
        own = subjects.subject(formula=BOTH)
        found = certify(own, "8", prompts=40, output_file=self.file)["prompts"]
        text, searched = prompts_of(40)
        self.assertEqual(found["hash"], sha256_json(text.tokens))
        self.assertEqual(found["text"], text.identity)
        self.assertEqual((found["count"], found["split"]), (40, "test"))
        self.assertEqual((found["tokens"], found["data"]), (32, ["pydoc"]))
        self.assertNoCommonElements(
            map(bytes, text.tokens), map(bytes, searched.tokens)
        )

    def test_what_is_shown_ends_with_the_token(self):
        own = subjects.subject(formula=BOTH)
        found = certify(own, "3", prompts=5, output_file=self.file)
        text, _ = prompts_of(5)
        tokenizer = own.candidate((8,)).source.tokenizer()
        for row in found["plans"][0]["worst"]:
            tokens = text.tokens[row["prompt"], : row["token"] + 1]
            whole = tokenizer.decode(tokens.tolist())
            self.assertEndsWith(whole, row["text"])
            self.assertNotEmpty(row["text"])

    def test_dry_run_judges_a_part_and_writes_nothing(self):
        own = subjects.subject(formula=BOTH)
        found = certify(
            own, "8", prompts=40, output_file=self.file, dry_run=True
        )
        self.assertEqual(found["prompts"]["count"], 16)
        self.assertEqual(os.listdir(self.folder), [])

    @parameterized.parameters(
        ({"confidence": 0.4}, {}, r"`confidence` must lie in \[.5, 1\).*0.4"),
        ({"confidence": 1.0}, {}, "`confidence` must lie"),
        ({"plans": None}, {}, "`plan` or `artifact`"),
        ({"plans": "9"}, {}, "bits=9"),
        ({"plans": "no/plan.json"}, {}, "no/plan.json"),
        ({"prompts": 0}, {}, "`prompts` must be at least 1"),
        ({}, {"formula": "always(jsd <= "}, r"`formula` must read(.|\n)*\^"),
        ({}, {"formula": "always(jsd_mean33 <= 0.1)"}, "33 tokens where"),
        ({}, {"formula": "always(response_time <= 1)"}, "not speak of resp"),
        ({}, {"formula": "always(jsd <= 0.9)"}, r"0..0.6931"),
        ({}, {"relax_thresholds": 0.3}, "`relax_thresholds`.*0.3"),
        ({}, {"tokens": 8}, "`tokens` must be at least 16"),
        ({}, {"workdir": "no/run"}, "config.json.*no/run"),
        ({"artifact": ["no/such"]}, {}, "--artifact.*no/such"),
        ({"stream": True, "plans": "8"}, {"workdir": "no/run"}, "no/run"),
    )
    def test_mistake_is_named(self, options, changes, message):
        options = {"plans": "8", "output_file": self.file, **options}
        with self.assertRaisesRegex(UserError, message):
            certify(subjects.subject(**changes), **options)
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_step_is_timed_token_by_token(self):
        class Session:
            def __init__(self):
                self.seen = ["none"]

            def reset(self):
                self.seen = []

            def step(self, token):
                self.seen.append(token)

        own = Session()
        found = step_seconds(own, np.array([7, 8, 9], "int32"))
        self.assertEqual(own.seen, [7, 8, 9])
        self.assertEqual(found.shape, (3,))
        self.assertTrue(np.all(found > 0))


class ArtefactTest(TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.root = pathlib.Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.root)
        cls.enterClassContext(subjects.own_cache(cls.root / "cache"))
        cls.export, _ = export(
            model="tiny", group=32, plan="4", out=cls.root / "four"
        )
        cls.own = subjects.subject(activations=8, scales="mse", formula=BOTH)

    def setUp(self):
        super().setUp()
        if not ON_TENSORFLOW:
            self.skipTest("exports are made on TensorFlow")
        self.file = self.root / "c.json"

    def test_a_file_is_judged_as_its_simulation(self):
        found = certify(
            self.own,
            "4",
            artifact=[str(self.export)],
            prompts=18,
            output_file=self.file,
        )
        shipped, simulated = found["plans"]
        self.assertEqual(found["tests"], 2 * 3)
        self.assertEqual(shipped["kind"], "exported artefact")
        self.assertEqual(shipped["name"], "four")
        artefact = Artefact(self.export)
        self.assertEqual(shipped["artefact_sha256"], digest(artefact.path))
        self.assertEqual(
            shipped["plan_hash"],
            Plan.from_json(artefact.metadata["plan"]).hash,
        )
        self.assertEqual(shipped["plan_hash"], simulated["plan_hash"])
        for name, rates in simulated["properties"].items():
            other = shipped["properties"][name]
            for key in ("worst_margin", "median_margin"):
                self.assertAllClose(other[key], rates[key], atol=5e-3, msg=key)

    def test_a_file_alone_knows_its_model_and_what_it_shows(self):
        own = subjects.subject(model="smollm2-135m")
        found = certify(
            own,
            None,
            artifact=[str(self.export)],
            prompts=3,
            output_file=self.file,
        )
        (plan,) = found["plans"]
        self.assertEqual(found["model"]["name"], "tiny")
        names = ["jsd_mean16", "factual_mean16", "all"]
        self.assertEqual(list(plan["properties"]), names)
        self.assertNotIn("attention", plan["formula"])

    def test_time_is_measured_beside_another(self):
        own = subjects.subject(formula="always(response_time_mean16 <= 50)")
        found = certify(
            own,
            None,
            artifact=[str(self.export)],
            reference_artifact=str(self.export),
            prompts=2,
            output_file=self.file,
        )
        (rates, _) = found["plans"][0]["properties"].values()
        # The same file takes about the time that it takes.
        self.assertBetween(rates["worst_margin"], 0.0, 50.0)

    @parameterized.parameters(
        ({"formula": "always(attention >= 0.5)"}, "lies inside the model"),
        ({"formula": "always(response_time <= 2)"}, "reference artefact"),
    )
    def test_what_a_file_does_not_show_is_refused(self, changes, message):
        with self.assertRaisesRegex(UserError, message):
            certify(
                subjects.subject(**changes),
                None,
                artifact=[str(self.export)],
                output_file=self.root / "none.json",
            )
        self.assertFalse((self.root / "none.json").exists())

    def test_a_file_of_another_model_is_refused(self):
        own = subjects.subject(model="tiny-gpt2", formula=BOTH)
        with self.assertRaisesRegex(UserError, "`artifact` must be of the mod"):
            certify(
                own,
                "8",
                artifact=[str(self.export)],
                output_file=self.root / "none.json",
            )

    def test_a_file_is_not_streamed(self):
        with self.assertRaisesRegex(UserError, "`stream` takes plans"):
            certify(
                self.own,
                None,
                artifact=[str(self.export)],
                stream=True,
                output_file=self.root / "none.json",
            )
