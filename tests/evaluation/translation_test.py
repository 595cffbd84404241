import json
import pathlib

import numpy as np
from absl.testing import parameterized

from tests.evaluation import translation_runs as runs
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.evaluation.evaluate_report import print_report
from tfshrink.evaluation.protocol import Protocol
from tfshrink.evaluation.translation import evaluate_translation
from tfshrink.evaluation.translation import judge_translation
from tfshrink.evaluation.translation import judged_data
from tfshrink.evaluation.translator import one_source
from tfshrink.evaluation.translator import Translator
from tfshrink.report.report import report


class TranslationTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.data = runs.write_pairs(
            self.folder / "pairs.tsv", [*runs.PAIRS, runs.LONG]
        )

    def candidate(self, **options):
        folder = self.folder / "run"
        folder.mkdir(exist_ok=True)
        return runs.write_run(folder, data=self.data, **options)

    def test_perplexity_of_targets_matches_numpy(self):
        one = self.candidate()
        found = judge_translation(one, beams=(1,))
        model, tokenizer = one.load("float32"), one.source.tokenizer()
        nats, count = 0.0, 0
        for source, target in runs.PAIRS:
            source, target = (
                tokenizer(text)["input_ids"] for text in (source, target)
            )
            own = one_source(source, model.config)
            logits = np.asarray(model(np.array([[1, *target]]), **own))[0]
            logits = logits.astype("float64")
            total = np.log(np.exp(logits).sum(-1))
            gold = [*target, 2]
            nats += (total - logits[np.arange(len(gold)), gold]).sum()
            count += len(gold)
        (row,) = found["plans"]
        self.assertAllClose(row["perplexity"], np.exp(nats / count), rtol=1e-4)
        self.assertAllClose(
            found["reference"]["perplexity"], row["perplexity"], rtol=1e-5
        )
        self.assertEqual(row["sentences"], 4)  # without the long one
        self.assertLen(row["examples"], 4)

    def test_results_are_written_printed_and_reported(self):
        one = self.candidate()
        found = evaluate_translation([one], Protocol(context=64))
        stored = json.loads((self.folder / "run/results.json").read_text())
        self.assertEqual(stored["plans"], found["plans"])
        self.assertEqual([row["beams"] for row in found["plans"]], [1, 4])
        print_report(found)
        print_report(found, markdown=True)
        page = self.folder / "report.html"
        self.assertEqual(report([str(self.folder / "run")], page), (1, []))
        self.assertIn("chrF", page.read_text("utf-8"))
        other = self.folder / "other.json"
        evaluate_translation(
            [one], Protocol(context=64), json=str(other), dry_run=True
        )
        self.assertFalse(other.exists())

    def test_pairs_of_a_run_are_those_named_last(self):
        one = self.candidate()
        self.assertEqual(judged_data(one.workdir), self.data)
        self.assertEqual(judged_data(one.workdir, "mine.tsv"), "mine.tsv")
        path = self.folder / "run/config.json"
        config = json.loads(path.read_text())
        config["settings"]["eval_data"] = "held.tsv"
        path.write_text(json.dumps(config))
        self.assertEqual(judged_data(one.workdir), "held.tsv")

    def test_what_asks_for_text_alone_is_refused(self):
        one = self.candidate()
        with self.assertRaisesRegex(UserError, "`tasks` must be perplexity"):
            evaluate_translation([one], Protocol(context=64, tasks=("speed",)))
        with self.assertRaisesRegex(UserError, "must be one run"):
            evaluate_translation([one, one], Protocol(context=64))
        path = runs.write_pairs(self.folder / "long.tsv", [runs.LONG])
        with self.assertRaisesRegex(UserError, "at most 31 tokens"):
            judge_translation(one, data=path)


class TranslatorTest(TestCase):
    def translator(self, **options):
        folder = self.create_tempdir().full_path
        one = runs.write_run(folder, data="gettext", exits=(1,))
        return Translator(
            one.load("float32"), one.source.tokenizer(), **options
        )

    def test_each_text_keeps_its_place_and_is_translated_alone(self):
        translator = self.translator(batch=2)
        texts = ["two red", "", "red " * 15, "one", "three three"]
        together = translator(texts)
        self.assertLen(translator.depths, 5)
        for text, made in zip(texts, together, strict=True):
            self.assertEqual(translator([text]), [made])
        self.assertEqual(translator([]), [])

    @parameterized.parameters(
        ({"beams": 0}, "`beams` must be at least 1"),
        ({"beams": -1}, "`beams` must be at least 1"),
        ({"beams": 2, "exits": "any"}, "`beams` must be 1 with exits"),
    )
    def test_widths_that_make_no_sense(self, options, message):
        with self.assertRaisesRegex(UserError, message):
            Translator(None, None, **options)

    def test_the_longest_source_works_and_a_longer_one_is_numbered(self):
        translator = self.translator()
        config, tokenizer = translator.model.config, translator.tokenizer
        row = tokenizer("red " * 40)["input_ids"]
        self.assertEqual(one_source(row[:31], config)["source"].shape, (1, 32))
        with self.assertRaisesRegex(UserError, "most 31 tokens.*32, number 1"):
            one_source(row[:32], config)
        with self.assertRaisesRegex(UserError, "number 2"):
            translator(["one", "red " * 40])
