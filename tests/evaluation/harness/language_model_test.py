"""The harness's questions, against answers worked from logits."""

import unittest

import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tests.training import tiny
from tfshrink.data.pack import windows
from tfshrink.errors import UserError
from tfshrink.evaluation.harness.language_model import cut
from tfshrink.evaluation.harness.language_model import LanguageModel
from tfshrink.evaluation.harness.plan_model import plan_model
from tfshrink.evaluation.judge import Judge
from tfshrink.evaluation.material import Material
from tfshrink.evaluation.protocol import Protocol
from tfshrink.evaluation.quality_meter import QualityMeter
from tfshrink.models.sources import open_source
from tfshrink.structure import plan_tensor

SOURCE = open_source("tiny")
TOKENIZER = SOURCE.tokenizer()
PLAN = tiny.plans("4")[0]
BITS = plan_tensor(SOURCE.config, PLAN)
WINDOW = 24
PAIRS = [
    ("One fish, two fish; red", " fish"),
    ("", "Blue fish"),
    ("This one has a little star ", "and this one has a little car"),
    ("   ", "Say"),
    ("What a lot of fish there are", ""),
]
TEXTS = ["Yes. Some are red, and some are blue. " * 3, "Old and new.", ""]


class Asked:
    """The model and what it says, once for all tests."""

    @classmethod
    def of(cls, batch_size=3):
        protocol = Protocol(
            context=WINDOW, tasks=("speed",), batch_size=batch_size
        )
        model = tiny.model()
        judge = Judge(model, protocol, Material(tokenizer=TOKENIZER))
        return model, plan_model(judge, BITS)


def log_probabilities(model, tokens):
    """Of each next token, by float64 softmax over all logits: `(T - 1,)`."""
    logits = np.asarray(model(np.array([tokens]), BITS))[0].astype("float64")
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    rows = logits[:-1]
    own = rows[np.arange(len(rows)), tokens[1:]]
    return own, rows.argmax(axis=1) == tokens[1:]


def encode(text):
    return TOKENIZER.encode(text, add_special_tokens=False)


class LanguageModelTest(TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model, cls.asked = Asked.of()

    def test_loglikelihoods_are_those_of_the_logits(self):
        found = self.asked.loglikelihood(PAIRS)
        bos = SOURCE.config.bos
        rows = [
            (encode(PAIRS[0][0]), encode(" fish")),
            ([bos], encode("Blue fish")),
            # The space goes with what follows it.
            (encode(PAIRS[2][0].rstrip()), encode(" " + PAIRS[2][1])),
            ([bos], encode("   Say")),
            (encode(PAIRS[4][0]), []),
        ]
        for (nats, greedy), (context, tokens) in zip(found, rows, strict=True):
            own, best = log_probabilities(self.model, context + tokens)
            first = len(context) - 1
            self.assertAllClose(nats, own[first:].sum(), atol=1e-4)
            self.assertEqual(greedy, bool(best[first:].all()))

    def test_likeliest_continuation_is_greedy_and_another_is_not(self):
        tokens = encode("One fish, two")
        for _ in range(3):
            logits = np.asarray(self.model(np.array([tokens]), BITS))[0, -1]
            tokens = [*tokens, int(logits.argmax())]
        score = self.asked.score([tokens, [*tokens[:-1], 5]])
        self.assertTrue(np.all(score[0][1][-3:] == 0))
        self.assertGreater(score[1][1][-1], 0)

    def test_order_and_company_in_a_batch_change_nothing(self):
        found = self.asked.loglikelihood(PAIRS)
        others = self.asked.loglikelihood([*PAIRS[::-1], *PAIRS[:2]])
        for own, other in zip([*found[::-1], *found[:2]], others, strict=True):
            self.assertAllClose(own[0], other[0], atol=1e-4)
            self.assertEqual(own[1], other[1])

    def test_a_long_context_is_cut_on_the_left(self):
        context = "Fish and " * 400
        (long,) = self.asked.loglikelihood([(context, " fish")])
        tokens = encode(context.rstrip() + "  fish")[-SOURCE.config.context :]
        count = len(encode("  fish"))
        own, _ = log_probabilities(self.model, tokens)
        self.assertAllClose(long[0], own[-count:].sum(), atol=1e-4)
        with self.assertRaisesRegex(UserError, "must have fewer tokens"):
            self.asked.loglikelihood([("a", context)])

    def test_rolling_is_the_strided_perplexity(self):
        found = self.asked.rolling(TEXTS)
        stream = [SOURCE.config.bos, *encode(TEXTS[0])]
        examples = windows(stream, WINDOW, WINDOW - 1)
        self.assertGreater(len(examples), 2)
        meter = QualityMeter(self.model, examples)
        own = meter.measure(BITS)
        self.assertEqual(own["tokens"], len(stream) - 1)
        expected = -own["nats_per_token"] * own["tokens"]
        self.assertAllClose(found[0], expected, rtol=1e-5)
        stream = [SOURCE.config.bos, *encode(TEXTS[1])]
        own, _ = log_probabilities(self.model, stream)
        self.assertAllClose(found[1], own.sum(), rtol=1e-5)
        self.assertEqual(found[2], 0.0)

    def test_rolling_windows_are_those_of_the_harness(self):
        try:
            from lm_eval.utils import get_rolling_token_windows
        except ImportError:
            self.skipTest("lm_eval is not installed")
        seen = []

        def score(rows):
            seen.extend(rows)
            return [(np.ones(len(r) - 1), None) for r in rows]

        model = LanguageModel(
            TOKENIZER, SOURCE.config, score=score, proceed=None, window=WINDOW
        )
        for text in TEXTS[:2]:
            seen.clear()
            (nats,) = model.rolling([text])
            self.assertEqual(nats, -len(encode(text)))
            theirs = get_rolling_token_windows(
                encode(text), SOURCE.config.bos, WINDOW - 1, 1
            )
            rows = [[*context, wanted[-1]] for context, wanted in theirs]
            self.assertEqual(seen, rows)

    def test_text_is_greedy_and_ends_before_a_stop_string(self):
        prompts = ["One fish, two", "This one has a little"]
        (whole, other) = self.asked.generate_until(
            [(p, {"max_gen_toks": 12, "until": []}) for p in prompts]
        )
        tokens = encode(prompts[0])
        for _ in range(12):
            logits = np.asarray(self.model(np.array([tokens]), BITS))[0, -1]
            token = int(logits.argmax())
            if token in SOURCE.config.eos:
                break
            tokens.append(token)
        own = TOKENIZER.decode(
            tokens[len(encode(prompts[0])) :], skip_special_tokens=True
        )
        self.assertEqual(whole, own)
        self.assertNotEqual(whole, other)
        stop = whole[2:4]
        settings = {"max_gen_toks": 12, "until": [stop, "never"]}
        (ended,) = self.asked.generate_until([(prompts[0], settings)])
        self.assertEqual(ended, whole[: whole.index(stop)])

    def test_a_stop_string_ends_the_work(self):
        texts, calls = "abcdef", []

        def proceed(prompts, count, stopped, settings):
            calls.append((count, settings, stopped(encode("abc"))))
            return [encode(texts) for _ in prompts]

        model = LanguageModel(
            TOKENIZER, SOURCE.config, score=None, proceed=proceed, window=8
        )
        requests = [
            ("x", {"until": "c"}),
            ("", {"until": ["zz"], "max_gen_toks": 10_000}),
            ("x", {"until": "c"}),
            ("x", {"do_sample": True, "temperature": 0.5, "max_gen_toks": 3}),
        ]
        found = model.generate_until(requests)
        self.assertEqual(found, ["ab", texts, "ab", texts])
        greedy = {"temperature": 0.0}
        self.assertEqual(
            calls,
            [
                (256, greedy, True),
                (511, greedy, False),  # all but one token of the context
                (3, {"temperature": 0.5}, False),
            ],
        )

    def test_settings_that_mean_something_else_are_refused(self):
        for name, value in (("num_beams", 4), ("best_of", 2)):
            with self.assertRaisesRegex(UserError, f"Received: {name}={value}"):
                self.asked.generate_until([("a", {name: value})])

    @parameterized.parameters(
        ("a\nb\n\nc", ["\n\n", "\n"], "a"),
        ("abc", ["d", ""], "abc"),
        ("abc", ["abc"], ""),
    )
    def test_text_is_cut_at_the_first_stop(self, text, stops, expected):
        self.assertEqual(cut(text, stops), expected)


if __name__ == "__main__":
    unittest.main()
