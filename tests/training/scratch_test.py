import json
import pathlib

import numpy as np
import pytest
from keras import ops

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.evaluation.translation import Translator
from tfshrink.exits.study import evaluate_exits
from tfshrink.exits.study import ExitSubject
from tfshrink.models.run import open_run
from tfshrink.training.schedules import noam_rate
from tfshrink.training.scratch_loss import smoothed
from tfshrink.training.settings import TrainSettings
from tfshrink.training.train import train

WORDS = {"one": "unu", "two": "doi", "three": "trei", "red": "rosu"}
SMALL = {
    "model": "tiny-transformer",
    "batch_size": 4,
    "context": 64,
    "vocabulary": 300,
    "dtype": "float32",
    "group": 32,
    "exit_rank": 16,
    "dropout": 0.0,
    "learning_rate": 1e-2,
    "use_tensorboard": False,
}


def write_pairs(path):
    """Word for word: a translator of this learns it at once."""
    names = list(WORDS)
    rows = [f"{a} {b}\t{WORDS[a]} {WORDS[b]}\n" for a in names for b in names]
    path.write_text("".join(rows) * 2, encoding="utf-8")
    return str(path)


@pytest.mark.slow
class TranslationTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.data = write_pairs(self.folder / "pairs.tsv")

    def train(self, name, **values):
        settings = TrainSettings(data=self.data, **{**SMALL, **values})
        return train(settings, workdir=str(self.folder / name))

    def test_a_run_learns_its_pairs_and_its_exits(self):
        results, folder = self.train(
            "run", style="early_exit", total_steps=120, exits="1,2"
        )
        greedy, beam = results["plans"]
        self.assertEqual((greedy["beams"], beam["beams"]), (1, 4))
        # Four words in a row, which BLEU counts, these pairs do not have.
        self.assertGreater(greedy["chrf"], 90.0)
        self.assertLess(greedy["perplexity"], 2.0)
        stored = json.loads((self.folder / "run/results.json").read_text())
        self.assertEqual(stored["plans"][0]["chrf"], greedy["chrf"])
        run = open_run(folder)
        translator = Translator(run.model, run.tokenizer)
        # An empty source, and one as long as may be, work too.
        made = translator(["one two", "", " ".join(["red"] * 15)])
        self.assertEqual(made[0], "unu doi")
        with self.assertRaisesRegex(UserError, "number 2"):
            translator(["one", "red " * 80])
        found = evaluate_exits(
            ExitSubject(workdir=folder, prompts=6, new=8),
            "margin:1;margin:.2",
            speed=False,
        )
        full, early = found["exits"]
        self.assertEqual((full["agreement"], full["layers"]), (1.0, 3.0))
        self.assertLess(early["layers"], 3.0)
        self.assertEqual(full["chrf"], found["full"]["chrf"])

    def test_a_run_goes_on_as_if_nothing_had_happened(self):
        whole, _ = self.train("whole", style="static", total_steps=6)
        settings = TrainSettings(
            data=self.data, **SMALL, style="static", total_steps=6
        )
        path = self.folder / "part"
        train(settings, workdir=str(path))
        for name in ("results.json", "checkpoints/final.safetensors"):
            (path / name).unlink()
        again, _ = train(settings, workdir=str(path), resume=True)
        self.assertEqual(
            again["plans"][0]["perplexity"], whole["plans"][0]["perplexity"]
        )
        self.assertIsNone(open_run(path).model.exits)

    def test_mistakes_are_named(self):
        with self.assertRaisesRegex(UserError, "eval_every"):
            self.train("a", style="static", total_steps=2, eval_every=1)
        with self.assertRaisesRegex(UserError, "dropout"):
            TrainSettings(**{**SMALL, "dropout": 1.0})
        self.assertFalse((self.folder / "a").exists())


class LossTest(TestCase):
    def test_smoothed_matches_its_definition(self):
        random = np.random.default_rng(0)
        logits = random.normal(size=(5, 7)).astype("float32")
        targets, weights = np.array([0, 3, 6, 2, 2]), np.full(5, 0.2, "float32")
        nats = np.log(np.exp(logits).sum(-1, keepdims=True)) - logits
        goal = 0.9 * np.eye(7)[targets] + 0.1 / 7
        loss, entropy = smoothed(
            ops.convert_to_tensor(logits), targets, weights, 0.1
        )
        self.assertAllClose(loss, (goal * nats).sum(-1).mean(), atol=1e-5)
        self.assertAllClose(
            entropy, nats[np.arange(5), targets].mean(), atol=1e-5
        )

    def test_noam_rises_and_falls_with_the_root(self):
        rates = [
            noam_rate(i, total=100, peak=2.0, warmup=0.1) for i in range(100)
        ]
        self.assertEqual(int(np.argmax(rates)), 9)
        self.assertAllClose(rates[4], 1.0)
        self.assertAllClose(rates[39], 2.0 * np.sqrt(10 / 40))
