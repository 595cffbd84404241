import numpy as np
from absl.testing import parameterized

from tests.stl import plan_judge_test as simulated
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.errors import UserError
from tfshrink.stl.logit_judge import check_shown
from tfshrink.stl.logit_judge import logit_signals
from tfshrink.stl.logit_judge import OF_LOGITS
from tfshrink.stl.requirement import Requirement
from tfshrink.stl.signals import SIGNALS

PROMPTS = simulated.PROMPTS
MASK = PROMPTS.mask


class LogitSignalsTest(TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = simulated.model("tiny")
        cls.bits = simulated.tensor(cls.model, "stripe-8-2")
        cls.asked = []
        cls.found = logit_signals(cls.logits_of, PROMPTS, simulated.reference())

    @classmethod
    def logits_of(cls, tokens):
        """What a model is asked for: one prompt, without its padding."""
        cls.asked.append(list(tokens))
        padded = np.zeros((1, PROMPTS.tokens.shape[1]), "int32")
        padded[0, : len(tokens)] = tokens
        return to_numpy(cls.model(padded, cls.bits))[0, : len(tokens)]

    def test_signals_are_those_of_the_simulated_plan(self):
        judge = simulated.judge_of(self.model, more=simulated.ALL)
        wanted = judge.measure(self.bits).signals
        self.assertCountEqual(self.found, OF_LOGITS)
        for name, values in self.found.items():
            self.assertEqual(values.shape, MASK.shape)
            # Tokens that are as likely may change their places.
            apart = np.abs(values - wanted[name])[MASK]
            near = apart <= 1e-5 + 1e-3 * np.abs(wanted[name][MASK])
            self.assertGreaterEqual(near.mean(), 0.99, name)

    def test_signals_match_scipy(self):
        plain = simulated.whole(simulated.load_model("tiny"))
        own = simulated.whole(self.model, self.bits)
        wanted, _ = simulated.expected(plain, own, PROMPTS.gold)
        for name in ("jsd", "factual", "logit_cosine"):
            self.assertAllClose(
                self.found[name][MASK],
                wanted[name][MASK],
                rtol=1e-3,
                atol=1e-5,
                msg=name,
            )

    def test_padding_is_neither_asked_for_nor_judged(self):
        wanted = [
            list(row[:length])
            for row, length in zip(PROMPTS.tokens, PROMPTS.lengths, strict=True)
        ]
        self.assertEqual(self.asked, wanted)
        for name, values in self.found.items():
            self.assertAllEqual(values[~MASK], SIGNALS[name].best)

    def test_the_reference_is_the_best(self):
        rows = iter(simulated.reference().logits)
        found = logit_signals(
            lambda tokens: next(rows)[: len(tokens)],
            PROMPTS,
            simulated.reference(),
        )
        for name, values in found.items():
            self.assertAllClose(
                values, np.full(values.shape, SIGNALS[name].best), atol=1e-5
            )

    def test_response_time_is_a_ratio(self):
        def seconds_of(tokens):
            count = np.arange(1.0, len(tokens) + 1)
            return 3.0 * count, 2.0 * count

        rows = iter(simulated.reference().logits)
        found = logit_signals(
            lambda tokens: next(rows)[: len(tokens)],
            PROMPTS,
            simulated.reference(),
            seconds_of=seconds_of,
        )
        self.assertAllClose(found["response_time"], np.where(MASK, 1.5, 1.0))


class ShownTest(TestCase):
    def test_what_logits_show_may_be_required(self):
        for name in OF_LOGITS:
            check_shown(Requirement(f"always({name} >= {SIGNALS[name].low})"))

    @parameterized.parameters("attention", "context")
    def test_the_inside_of_a_model_is_refused(self, name):
        requirement = Requirement(f"always({name} >= 0.5)")
        with self.assertRaisesRegex(UserError, f"{name}.*lies inside"):
            check_shown(requirement, timed=True)

    def test_times_need_something_beside(self):
        requirement = Requirement("always(response_time <= 1.0)")
        with self.assertRaisesRegex(UserError, "needs a reference artefact"):
            check_shown(requirement)
        check_shown(requirement, timed=True)

    def test_every_signal_is_one_or_the_other(self):
        inside = [name for name, one in SIGNALS.items() if one.inside]
        timed = [name for name, one in SIGNALS.items() if one.timed]
        self.assertCountEqual([*OF_LOGITS, *inside, *timed], SIGNALS)
