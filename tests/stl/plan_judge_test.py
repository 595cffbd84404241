import dataclasses
import functools
from unittest import mock

import numpy as np
from absl.testing import parameterized
from scipy.spatial import distance
from scipy.special import log_softmax
from scipy.special import rel_entr

from tests.models.block_forward_test import numpy_cosine
from tests.models.effective_weights_test import model
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tests.training import tiny
from tfshrink.data.prompts import Prompts
from tfshrink.errors import UserError
from tfshrink.layers.block_codecs import BlockCodecs
from tfshrink.layers.int_codec import IntCodec
from tfshrink.models.load import load_model
from tfshrink.models.ordering import CHANNELS
from tfshrink.models.ordering import HEADS
from tfshrink.models.ordering import reorder
from tfshrink.models.sources import open_source
from tfshrink.plan import Plan
from tfshrink.stl import plan_judge
from tfshrink.stl.plan_judge import check_observable
from tfshrink.stl.plan_judge import Judgement
from tfshrink.stl.plan_judge import OF_LOGITS
from tfshrink.stl.plan_judge import PlanJudge
from tfshrink.stl.plan_judge import TOP
from tfshrink.stl.plan_judge import USUAL
from tfshrink.stl.reference import reference_run
from tfshrink.stl.requirement import Requirement
from tfshrink.stl.signals import SIGNALS
from tfshrink.structure import plan_tensor

ALL = ("kl", TOP)  # what `more` must name to measure everything


def random_prompts():
    """Seven prompts of up to 48 tokens: one piece, and a part of another."""
    random = np.random.default_rng(0)
    tokens = random.integers(3, 500, (7, 48)).astype("int32")
    lengths = np.array([48, 40, 24, 47, 31, 16, 48], "int32")
    gold = np.full_like(tokens, -1)
    gold[1::2, 5:15] = tokens[1::2, 6:16]
    found = Prompts(tokens, lengths, gold, ("text",) * 7, "0" * 64)
    tokens[~found.mask] = 0
    return found


PROMPTS = random_prompts()


@functools.cache
def reference(name="tiny"):
    """The reference run of `PROMPTS`."""
    return reference_run(open_source(name), PROMPTS)


def judge_of(own, **options):
    """A judge of a model by `PROMPTS`."""
    return PlanJudge(own, PROMPTS, reference(own.config.name), **options)


def tensor(own, text, **fields):
    """Bits of a plan for the tiny model."""
    plan = Plan.parse(text, layers=2, group=32, **fields)
    return plan_tensor(own.config, plan)


def whole(own, bits=None):
    """Logits, hidden states and attention of one call of a decoder."""
    seen = []
    for block in own.blocks:
        block.attention.tap = seen.append
    logits = own(PROMPTS.tokens, bits)
    for block in own.blocks:
        block.attention.tap = None
    hidden = own.hidden(PROMPTS.tokens, bits)
    arrays = [to_numpy(x).astype("float64") for x in (logits, hidden)]
    return (*arrays, [to_numpy(x).astype("float64") for x in seen])


def at(values, tokens):
    """`(N, T, V)` at one token each."""
    return np.take_along_axis(values, tokens[..., None], axis=-1)[..., 0]


def cosines(a, b):
    """Cosine of rows `(N, T, C)`, one by one."""
    found = np.zeros(a.shape[:2])
    for place in np.ndindex(found.shape):
        found[place] = 1.0 - distance.cosine(a[place], b[place])
    return found


def overlap(a, b):
    """Share of the five largest that are the same."""
    found = np.zeros(a.shape[:2])
    for place in np.ndindex(found.shape):
        ours, theirs = (set(np.argsort(x[place])[-5:]) for x in (a, b))
        found[place] = len(ours & theirs) / 5.0
    return found


def expected(plain, own, gold):
    """All signals of two calls, in float64; and cosines of every block."""
    (a, before, maps), (b, after, others) = plain, own
    log_p, log_q = log_softmax(a, -1), log_softmax(b, -1)
    p, q = np.exp(log_p), np.exp(log_q)
    watched = np.where(gold >= 0, gold, a.argmax(-1))
    following = np.roll(PROMPTS.tokens, -1, axis=1)
    blocks = [numpy_cosine(x, y) for x, y in zip(maps, others, strict=True)]
    signals = {
        "jsd": distance.jensenshannon(p, q, axis=-1) ** 2,
        "factual": at(q, watched) / at(p, watched),
        "nats": -at(log_q, following),
        "context": cosines(before, after),
        "attention": np.min(blocks, axis=0),
        "max_probability_deviation": np.abs(p.max(-1) - q.max(-1)),
        "kl": rel_entr(p, q).sum(-1),
        "logit_cosine": cosines(a, b),
        "mse": ((a - b) ** 2).mean(-1),
        "mae": np.abs(a - b).mean(-1),
        TOP: overlap(a, b),
    }
    return signals, np.stack(blocks)


class SignalsTest(TestCase):
    @parameterized.parameters("tiny", "tiny-gpt2")
    def test_signals_are_those_of_two_whole_calls(self, name):
        own = model(name)
        judge = judge_of(own, more=ALL)
        plain = whole(load_model(name))
        mask = PROMPTS.mask
        behind = mask & np.roll(mask, -1, 1)  # where a token follows
        behind[:, -1] = False
        for text in ("4", "stripe-8-2", "4:heads=.5:channels=.25"):
            bits = tensor(own, text)
            found = judge.measure(bits)
            wanted, blocks = expected(plain, whole(own, bits), PROMPTS.gold)
            self.assertCountEqual(found.signals, wanted)
            self.assertAllEqual(found.lengths, PROMPTS.lengths)
            self.assertAllClose(
                found.block_attention[:, mask], blocks[:, mask], atol=1e-5
            )
            # Tokens that are as likely may change their places.
            same = found.signals.pop(TOP)[mask] == np.float32(
                wanted.pop(TOP)[mask]
            )
            self.assertGreater(same.mean(), 0.99)
            self.assertAllClose(
                found.signals.pop("nats")[behind],
                wanted.pop("nats")[behind],
                rtol=1e-4,
            )
            for signal, values in wanted.items():
                self.assertEqual(found.signals[signal].shape, mask.shape)
                self.assertAllClose(
                    found.signals[signal][mask],
                    values[mask],
                    rtol=1e-3,
                    atol=1e-5,
                    msg=f"{text}: {signal}",
                )
        self.assertEqual(judge.forward.traces, 1)

    @parameterized.parameters("tiny", "tiny-gpt2")
    def test_full_precision_is_the_best(self, name):
        own = tiny.model(name)
        judge, mask = judge_of(own, more=ALL), PROMPTS.mask
        best = {name: SIGNALS[name].best for name in (*USUAL, "logit_cosine")}
        best |= {"kl": 0.0, "mse": 0.0, "mae": 0.0, TOP: 1.0}
        coarse = judge.measure(tensor(own, "2")).signals
        for bits in (None, tensor(own, "32"), tensor(own, "16")):
            found = judge.measure(bits)
            self.assertCountEqual(found.signals, [*best, "nats"])
            self.assertAllClose(found.block_attention[:, mask], 1.0, atol=1e-5)
            for signal, value in best.items():
                own_values = found.signals[signal][mask]
                self.assertAllClose(own_values, value, atol=2e-5, msg=signal)
                self.assertNotAllClose(coarse[signal][mask], value, atol=1e-2)

    @parameterized.parameters(112, 1000)
    def test_pieces_change_nothing(self, rows):
        own = model("tiny")
        bits = tensor(own, "4")
        wanted = judge_of(own, more=ALL).measure(bits).signals
        with mock.patch.object(plan_judge, "ROWS", rows):
            found = judge_of(own, more=ALL).measure(bits).signals
        self.assertAllClose(found, wanted, rtol=1e-3, atol=1e-5)

    def test_gold_is_watched_where_it_is_known(self):
        own = model("tiny")
        bits = tensor(own, "2")
        gold = judge_of(own).measure(bits).signals["factual"]
        bare = dataclasses.replace(PROMPTS, gold=np.full_like(PROMPTS.gold, -1))
        judge = PlanJudge(own, bare, reference())
        plain = judge.measure(bits).signals["factual"]
        known = PROMPTS.gold >= 0
        self.assertAllEqual(gold[~known], plain[~known])
        self.assertGreater(np.abs(gold - plain)[known].min(), 0.0)
        # The tenth token of the second prompt.
        a, b = (
            log_softmax(to_numpy(logits)[1, 9])[PROMPTS.tokens[1, 10]]
            for logits in (
                load_model("tiny")(PROMPTS.tokens),
                own(PROMPTS.tokens, bits),
            )
        )
        self.assertAllClose(gold[1, 9], np.exp(b - a), rtol=1e-3)

    def test_only_what_is_wanted_is_measured(self):
        own = model("tiny")
        bits = tensor(own, "4")
        usual = judge_of(own).measure(bits).signals
        self.assertCountEqual(usual, [*USUAL, "nats"])
        for more, names in (
            (("mse",), OF_LOGITS),
            ((TOP,), (TOP,)),
            (("kl", "mae", TOP), (*OF_LOGITS, TOP)),
        ):
            found = judge_of(own, more=more).measure(bits).signals
            self.assertCountEqual(found, [*usual, *names])
            for name, values in usual.items():
                self.assertAllClose(found[name], values, rtol=1e-4, atol=1e-6)

    def test_an_order_of_parts_changes_nothing(self):
        name = "tiny-gpt2"
        own = tiny.model(name, fit=False, ranks=())
        for block, order in zip(
            own.blocks, ([2, 0, 3, 1], [3, 2, 1, 0]), strict=True
        ):
            reorder(block, HEADS, order)
            reorder(block, CHANNELS, np.arange(128)[::-1])
        mask = PROMPTS.mask
        found = judge_of(own).measure()
        self.assertAllClose(found.block_attention[:, mask], 1.0, atol=1e-5)
        self.assertAllClose(found.signals["jsd"][mask], 0.0, atol=1e-5)
        # Heads do look at different things.
        for maps in reference(name).maps:
            self.assertLess(numpy_cosine(maps, maps[:, ::-1])[mask].min(), 0.9)

    def test_queries_that_share_a_key_stay_together(self):
        own = tiny.model("tiny", fit=False, ranks=())
        for block in own.blocks:
            reorder(block, HEADS, [1, 0])
        found = judge_of(own).measure().block_attention[:, PROMPTS.mask]
        self.assertAllClose(found, 1.0, atol=1e-5)

    def test_a_reference_from_its_cache_serves_as_well(self):
        own, folder = model("tiny"), self.create_tempdir().full_path
        bits = tensor(own, "4")
        wanted = judge_of(own).measure(bits).signals
        for _ in range(2):
            run = reference_run(open_source("tiny"), PROMPTS, folder=folder)
            found = PlanJudge(own, PROMPTS, run).measure(bits).signals
            self.assertAllClose(found, wanted, rtol=1e-4, atol=1e-6)

    def test_a_formula_is_judged_prompt_by_prompt(self):
        own = model("tiny")
        judge, requirement = judge_of(own), Requirement()
        requirement.check_lengths(PROMPTS.lengths)
        found = judge.measure()
        margins = requirement.margins(found.signals, found.lengths)
        for name, best in (("attention", 0.25), ("context", 0.2)):
            self.assertAllClose(margins[name], np.full(7, best), atol=1e-5)
        found = judge.measure(tensor(own, "2"))
        margins = requirement.margins(found.signals, found.lengths)
        for row, length in enumerate(PROMPTS.lengths):
            least = found.signals["attention"][row, :length].min()
            self.assertAllClose(margins["attention"][row], least - 0.75)
            self.assertLess(margins["attention"][row], 0.0)


class KeptTest(TestCase):
    def setUp(self):
        super().setUp()
        self.model = model("tiny")
        self.judge = judge_of(self.model)

    def blocks_of(self, bits):
        """What a plan does, and how many blocks ran for it."""
        before = self.judge.blocks
        return self.judge.measure(bits), self.judge.blocks - before

    def test_a_plan_that_begins_alike_runs_its_end_alone(self):
        own, fresh = self.model, judge_of(self.model)
        kept = tensor(own, "8")
        self.assertAllEqual(
            self.judge.keep(kept).signals["jsd"],
            fresh.measure(kept).signals["jsd"],
        )
        self.assertEqual(self.judge.blocks, 2)
        for bits, wanted in (
            (kept, 0),
            (tensor(own, "8,8,8,8,8,8,8,2"), 1),
            (tensor(own, "8,8,8,8,2,8,8,8"), 1),
            (tensor(own, "8,8,8,2,8,8,8,8"), 2),
            (tensor(own, "4"), 2),
            (tensor(own, "8:embedding=4"), 2),
            (tensor(own, "8", heads=(0.0, 0.5)), 1),
            (tensor(own, "8", channels=(0.25, 0.0)), 2),
            (tensor(own, "8:pruning=.3"), 2),
            (None, 2),
            (kept, 0),
        ):
            found, blocks = self.blocks_of(bits)
            self.assertEqual(blocks, wanted, str(bits))
            wanted = fresh.measure(bits)
            self.assertAllClose(
                found.signals, wanted.signals, rtol=1e-4, atol=1e-6
            )
            self.assertAllClose(
                found.block_attention, wanted.block_attention, atol=1e-6
            )

    def test_another_plan_takes_the_place_of_the_kept_one(self):
        first = tensor(self.model, "8")
        second = tensor(self.model, "4,4,4,4,8,8,8,8")
        self.judge.keep(first)
        self.judge.keep(second)
        self.assertEqual(self.judge.blocks, 4)
        for bits, wanted in ((first, 2), (second, 0)):
            self.assertEqual(self.blocks_of(bits)[1], wanted)
        end = tensor(self.model, "4,4,4,4,2,2,2,2")
        found, blocks = self.blocks_of(end)
        self.assertEqual(blocks, 1)
        wanted = judge_of(self.model).measure(end)
        self.assertAllClose(found.signals, wanted.signals, atol=1e-6, rtol=1e-4)

    def test_full_precision_is_kept_as_16_bits(self):
        self.judge.keep()
        self.assertEqual(self.blocks_of(None)[1], 0)
        bits = tensor(self.model, "16")
        found, blocks = self.blocks_of(bits)
        self.assertEqual(blocks, 0)
        self.assertAllClose(found.signals["jsd"], np.zeros((7, 48)), atol=1e-6)
        self.assertEqual(self.blocks_of(tensor(self.model, "8"))[1], 2)

    def test_nothing_is_kept_unasked(self):
        bits = tensor(self.model, "8")
        for _ in range(2):
            self.assertEqual(self.blocks_of(bits)[1], 2)

    def test_the_last_plan_can_be_adopted(self):
        first = tensor(self.model, "8")
        second = tensor(self.model, "8,8,8,8,4,4,4,4")
        self.judge.keep(first)
        self.assertEqual(self.blocks_of(second)[1], 1)
        self.judge.adopt()
        self.assertEqual(self.blocks_of(second)[1], 0)
        self.assertEqual(self.blocks_of(first)[1], 1)
        found = self.judge.measure(second)
        wanted = judge_of(self.model).measure(second)
        self.assertAllClose(found.signals, wanted.signals, atol=1e-6, rtol=1e-4)

    def test_a_plan_is_kept_with_its_codecs(self):
        codecs = BlockCodecs(
            [IntCodec(2, 8)] * 2, window=8, sinks=2, dtype="float32"
        )
        first = tensor(self.model, "8")
        second = tensor(self.model, "8,8,8,8,4,4,4,4")
        kept = self.judge.keep(first, codecs)
        self.assertEqual(self.blocks_of(first)[1], 2)
        before = self.judge.blocks
        found = self.judge.measure(second, codecs)
        self.assertEqual(self.judge.blocks, before + 1)
        wanted = judge_of(self.model).measure(second, codecs)
        self.assertAllClose(found.signals, wanted.signals, atol=1e-6, rtol=1e-4)
        plain = self.judge.measure(first).signals
        for name in ("jsd", "attention", "context", "factual"):
            # Nothing is coded before token 16.
            apart = np.abs(kept.signals[name] - plain[name])
            self.assertLess(apart[:, :16].max(), 1e-4, name)
            self.assertGreater(apart[0, 16:].max(), 1e-3, name)

    def test_other_prompts_can_be_looked_at(self):
        bits = tensor(self.model, "4")
        self.judge.keep(bits)
        tokens = np.roll(PROMPTS.tokens, 1, axis=0)
        lengths, gold = (
            np.roll(x, 1, 0) for x in (PROMPTS.lengths, PROMPTS.gold)
        )
        other = dataclasses.replace(
            PROMPTS, tokens=tokens, lengths=lengths, gold=gold
        )
        run = reference_run(open_source("tiny"), other)
        self.judge.look_at(other, run)
        found, blocks = self.blocks_of(bits)
        self.assertEqual(blocks, 2)  # nothing is kept of the others
        self.assertAllEqual(found.lengths, lengths)
        wanted = judge_of(self.model).measure(bits)
        for name, values in wanted.signals.items():
            moved = np.roll(values, 1, axis=0)
            self.assertAllClose(
                found.signals[name], moved, rtol=1e-3, atol=1e-5, msg=name
            )


class MeansTest(TestCase):
    def test_means_by_hand(self):
        judgement = Judgement(
            {
                "jsd": np.array([[0.1, 0.2, 9.0], [0.3, 0.4, 0.5]], "float32"),
                "nats": np.array([[1.0, 8.0, 9.0], [3.0, 5.0, 7.0]], "float32"),
            },
            np.array([2, 3]),
            np.ones((1, 2, 3)),
        )
        found = judgement.means
        self.assertAllClose(found["jsd"], 0.3)
        # Nothing follows the last token of a prompt.
        self.assertAllClose(found["perplexity"], np.exp(3.0))
        self.assertCountEqual(found, ["jsd", "nats", "perplexity"])

    def test_perplexity_is_that_of_the_whole_calls(self):
        own = model("tiny")
        judge = judge_of(own)
        plain = load_model("tiny")
        bits = tensor(own, "4")
        wanted = []
        for logits in (plain(PROMPTS.tokens), own(PROMPTS.tokens, bits)):
            log_p = log_softmax(to_numpy(logits).astype("float64"), -1)
            nats = [
                -log_p[row, place, PROMPTS.tokens[row, place + 1]]
                for row, length in enumerate(PROMPTS.lengths)
                for place in range(length - 1)
            ]
            wanted.append(np.exp(np.mean(nats)))
        found = judge.measure(bits).means["perplexity"]
        self.assertAllClose(found, wanted[1], rtol=1e-4)
        self.assertAllClose(judge.reference_perplexity, wanted[0], rtol=1e-4)
        self.assertNotAllClose(wanted[0], wanted[1], rtol=1e-3)


class ObservableTest(TestCase):
    def test_what_a_simulation_shows_may_be_required(self):
        for name in (*USUAL, "logit_cosine", TOP):
            low = SIGNALS[name].low
            check_observable(Requirement(f"always({name}_mean2 >= {low})"))

    def test_times_are_those_of_an_artefact(self):
        requirement = Requirement("jsd <= 0.1 and response_time <= 1")
        with self.assertRaisesRegex(UserError, "not speak of response_time"):
            check_observable(requirement)

    def test_every_signal_is_measured_or_refused(self):
        refused = [name for name, signal in SIGNALS.items() if signal.timed]
        shown = {*USUAL, *OF_LOGITS, TOP}
        self.assertCountEqual(refused, set(SIGNALS) - shown)
