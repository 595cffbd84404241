import contextlib
import io
import json
import os
import pathlib
from unittest import mock

import numpy as np
import pytest
from keras import ops

from tests.models import translators
from tests.test_case import TestCase
from tfshrink.deploy.export import export
from tfshrink.errors import UserError
from tfshrink.evaluation.evaluate import evaluate
from tfshrink.evaluation.generate import generate
from tfshrink.evaluation.translator import Translator
from tfshrink.exits.study import evaluate_exits
from tfshrink.exits.study import ExitSubject
from tfshrink.models.checkpoint import load_tensors
from tfshrink.models.run import open_run
from tfshrink.search.subject import Subject
from tfshrink.training.exit_loss import ExitLoss
from tfshrink.training.report import print_dry_run
from tfshrink.training.schedules import noam_rate
from tfshrink.training.scratch_loss import ScratchLoss
from tfshrink.training.scratch_loss import smoothed
from tfshrink.training.settings import TrainSettings
from tfshrink.training.train import train
from tfshrink.training.trainer import Trainer

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
        self.use(folder, results)

    def use(self, folder, results):
        """What commands make of the run."""
        again = evaluate(workdir=[folder], json=f"{folder}/again.json")
        for before, after in zip(results["plans"], again["plans"], strict=True):
            self.assertEqual(after["chrf"], before["chrf"])
            self.assertAllClose(after["perplexity"], before["perplexity"])
        for exit in (None, "margin:1", "margin:0"):
            made = generate(
                "one two",
                lambda piece: None,
                workdir=folder,
                exit=exit,
                temperature=0.0,
                repetition_penalty=1.0,
            )
            if exit != "margin:0":
                self.assertEqual(made["text"], "unu doi")
        self.assertEqual(made["layers"], 1.0)
        for refused in (
            lambda: export(workdir=folder, plan="8", group=0),
            lambda: Subject(workdir=folder).candidate((8,)),
        ):
            with self.assertRaisesRegex(UserError, "`workdir` must be of a de"):
                refused()
        with self.assertRaisesRegex(UserError, "`kv` must be of a decoder"):
            evaluate(workdir=[folder], kv=["int8"], context=32)

    def test_a_run_goes_on_as_if_nothing_had_happened(self):
        values = {
            "style": "static",
            "total_steps": 5,
            "exits": "1",
            "dropout": 0.2,
            "checkpoint_minutes": 0.0,
        }
        whole, folder = self.train("whole", **values)
        step = Trainer.step

        def stopping(trainer, index, batch_at):
            if index == 3:
                raise KeyboardInterrupt
            return step(trainer, index, batch_at)

        with mock.patch.object(Trainer, "step", stopping):
            with self.assertRaises(KeyboardInterrupt):
                self.train("part", **values)
        settings = TrainSettings(data=self.data, **{**SMALL, **values})
        part = self.folder / "part"
        again, _ = train(settings, workdir=str(part), resume=True)
        self.assertEqual(
            again["plans"][0]["perplexity"], whole["plans"][0]["perplexity"]
        )
        ends = (
            load_tensors(pathlib.Path(path) / "checkpoints/final.safetensors")
            for path in (folder, part)
        )
        (first, _), (second, _) = ends
        self.assertCountEqual(first, second)
        for name, value in first.items():
            self.assertAllEqual(value, second[name])

    def test_mistakes_are_named(self):
        with self.assertRaisesRegex(UserError, "eval_every"):
            self.train("a", style="static", total_steps=2, eval_every=1)
        for name, value in (
            ("plan", "8"),
            ("train", "weights,adapters"),
            ("remat", True),
            ("kv", "int8"),
            ("start", "runs/a/checkpoints/final.safetensors"),
        ):
            with self.assertRaisesRegex(UserError, name):
                self.train("a", total_steps=2, **{name: value})
        with self.assertRaisesRegex(UserError, "missing.tsv"):
            self.train("a", total_steps=2, eval_data="missing.tsv")
        with self.assertRaisesRegex(UserError, "`vocabulary` must be at least"):
            TrainSettings(**{**SMALL, "vocabulary": 5})
        with self.assertRaisesRegex(UserError, "dropout"):
            TrainSettings(**{**SMALL, "dropout": 1.0})
        self.assertFalse((self.folder / "a").exists())

    def test_a_dry_run_takes_a_step_and_leaves_nothing(self):
        settings = TrainSettings(data=self.data, **SMALL, exits="1")
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            print_dry_run(settings)
        self.assertIn("32 pairs", out.getvalue())
        self.assertIn("One step of", out.getvalue())
        self.assertEqual(os.listdir(self.folder), ["pairs.tsv"])


@pytest.mark.slow
class DecoderTest(TestCase):
    def test_a_run_is_its_own_reference(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        data = folder / "text.txt"
        data.write_text("One fish, two fish; red fish, blue fish. " * 60)
        small = {**SMALL, "model": "tiny-ultra", "vocabulary": 280}
        settings = TrainSettings(
            **small,
            data=str(data),
            eval_data=str(data),
            style="early_exit",
            exits="1,2",
            exit_weights="learned",
            total_steps=80,
        )
        results, path = train(settings, workdir=str(folder / "run"))
        (row,) = results["plans"]
        self.assertLess(row["perplexity"], 30.0)  # of 280 tokens
        self.assertAllClose(row["perplexity_ratio"], 1.0, atol=1e-4)
        found = evaluate_exits(
            ExitSubject(
                workdir=path, data=str(data), prompts=4, tokens=16, new=8
            ),
            "margin:1",
            speed=False,
        )
        self.assertEqual(found["exits"][0]["agreement"], 1.0)
        # Rounding and searching begin with what was learned.
        eight = evaluate(workdir=[path], plan="8", data=str(data), context=64)
        self.assertAllClose(
            eight["plans"][0]["perplexity_ratio"], 1.0, atol=0.05
        )
        subject = Subject(workdir=path, data=str(data), prompts=4, tokens=16)
        judge = subject.evaluator(subject.candidate((8,)))
        self.assertLess(judge(judge.uniform(8)).means["jsd"], 0.01)


class LossTest(TestCase):
    def test_learned_weights_of_exits_are_heeded(self):
        model = translators.model(exits=(1,))
        exits = ExitLoss(model, steps=4, weights="learned", frozen=False)
        exits.variables[0].assign([0.5, -0.25])
        loss = ScratchLoss(model, dropout=0.0, exits=exits)
        batch = {
            "tokens": np.array([[1, 5, 9], [1, 8, 2]]),
            "mask": np.ones((2, 3), "float32"),
            **translators.sources([[9, 4], [7]], 4),
        }
        total, (_, _, early), _ = loss(batch, None, {}, [], loss.at(0))
        plain = ScratchLoss(model, dropout=0.0)
        last = plain(batch, None, {}, [], plain.at(0))[0]
        want = np.exp(-0.5) * early + 0.5, np.exp(0.25) * last - 0.25
        self.assertAllClose(total, np.mean(want), rtol=1e-5)

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
