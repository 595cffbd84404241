from unittest import mock

import numpy as np

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tests.training import tiny
from tfshrink.errors import UserError
from tfshrink.models.sources.tiny import tiny_tokenizer
from tfshrink.run_folder import RunFolder
from tfshrink.training import fit as fit_module
from tfshrink.training.held_out import held_out_examples
from tfshrink.training.held_out import HeldOut


class HeldOutTest(TestCase):
    def test_windows_are_few_fixed_and_of_no_other_split(self):
        tokenizer = tiny_tokenizer(512)
        found = held_out_examples("pydoc", tokenizer, 32)
        self.assertEqual(found.tokens.shape, (8, 32))
        again = held_out_examples("pydoc", tokenizer, 32)
        self.assertAllEqual(found.tokens, again.tokens)
        with mock.patch("tfshrink.training.held_out.SPLIT", "test"):
            other = held_out_examples("pydoc", tokenizer, 32)
        self.assertNotEqual(found.tokens.tolist(), other.tokens.tolist())

    def test_a_text_shorter_than_a_window_is_named(self):
        path = self.create_tempfile("short.txt", "too short").full_path
        with self.assertRaisesRegex(UserError, "`eval_data` must hold"):
            held_out_examples(path, tiny_tokenizer(512), 64)

    def test_perplexity_matches_whole_logits_in_numpy(self):
        model, plans = tiny.model(), tiny.plans("8", "2")
        examples = tiny.text(4)
        found = HeldOut(model, plans, examples).measure()
        for plan in plans:
            logits = to_numpy(model(examples.tokens, np.array(plan.bits)))
            logits = logits[:, :-1].astype("float64")
            peak = logits.max(-1, keepdims=True)
            log_p = logits - peak
            log_p -= np.log(np.exp(log_p).sum(-1, keepdims=True))
            own = np.take_along_axis(log_p, examples.tokens[:, 1:, None], -1)[
                ..., 0
            ]
            mask = examples.mask[:, 1:]
            expected = np.exp(-(own * mask).sum() / mask.sum())
            self.assertAllClose(found[plan.name], expected, rtol=1e-4)


class EvalEveryTest(TestCase):
    def test_a_run_logs_judgements_at_their_steps(self):
        settings = tiny.settings(total_steps=5, eval_every=2)
        folder = RunFolder(self.create_tempdir().full_path + "/run")
        trainer = mock.Mock()
        trainer.step.return_value = {"loss": 1.0, "tokens": 4}
        trainer.snapshot.return_value = {"x": np.ones(1)}
        trainer.state.return_value = {}
        judge = mock.Mock()
        judge.measure.side_effect = [{"8": 9.0}, {"8": 8.0}]
        with (
            mock.patch.object(fit_module, "make_trainer", lambda *a: trainer),
            mock.patch.object(fit_module, "HeldOut", lambda *a: judge),
        ):
            fit_module.fit(
                None, settings, [], tiny.text(), folder, tiny.text(1)
            )
        evals = [line for line in folder.metrics() if "eval" in line]
        self.assertEqual(
            evals,
            [{"step": 2, "eval": {"8": 9.0}}, {"step": 4, "eval": {"8": 8.0}}],
        )
        self.assertEqual(
            [line["step"] for line in folder.metrics()], [1, 2, 2, 3, 4, 4, 5]
        )

    def test_the_range_test_runs_once_and_is_recorded(self):
        settings = tiny.settings(style="cpt", range_test=True)
        folder = RunFolder(self.create_tempdir().full_path + "/run")
        trainer = mock.Mock()
        trainer.model.precision.widths = (8, 2)
        found = {"low": 4, "tests": []}
        plans = tiny.plans("8")
        with mock.patch.object(
            fit_module, "range_test", return_value=found
        ) as run:
            for _ in range(2):  # as a resumed run would
                low = fit_module.lowest_bits(
                    trainer, settings, plans, mock.Mock(), folder
                )
                self.assertEqual(low, 4)
            run.assert_called_once()
        self.assertEqual(folder.read("range_test.json"), found)
        style = fit_module.make_style(trainer.model, settings, plans, low=4)
        bits = {style(step)[0][0].plan.bits[0] for step in range(4)}
        self.assertEqual(min(bits), 4)
