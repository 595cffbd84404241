import dataclasses
import pathlib

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tests.search import stubs
from tests.search import subjects
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.evaluation.cost import plan_cost
from tfshrink.files import sha256_file
from tfshrink.kv_spec import KVSpec
from tfshrink.plan import Plan
from tfshrink.search.evaluation import Evaluation
from tfshrink.search.evaluator import Evaluator
from tfshrink.search.evaluator import run_identity
from tfshrink.stl.requirement import Requirement
from tfshrink.structure import plan_tensor


def evaluation(**margins):
    """One of prompts whose margins are given."""
    return Evaluation(
        plan=Plan.parse("8", layers=2),
        cost={"bytes": 7.0},
        margins={name: np.array(own) for name, own in margins.items()},
        means={"perplexity": 3.0, "jsd": 0.1},
    )


class EvaluationTest(TestCase):
    def test_numbers_by_hand(self):
        own = evaluation(jsd=[0.3, -0.1, 0.2], context=[0.0, 0.4, -0.5])
        self.assertEqual(own.worst, {"jsd": -0.1, "context": -0.5})
        self.assertEqual(own.margin, -0.5)
        self.assertAllClose(own.violation, 0.6)
        self.assertAllClose(own.satisfied_share, 1 / 3)
        row = own.row()
        self.assertFalse(row["satisfied"])
        self.assertEqual(row["margin_context"], -0.5)
        self.assertEqual((row["bytes"], row["perplexity"]), (7.0, 3.0))

    def test_a_margin_of_0_is_enough(self):
        own = evaluation(jsd=[0.0, 0.1])
        self.assertTrue(own.row()["satisfied"])
        self.assertEqual((own.violation, own.satisfied_share), (0.0, 1.0))

    def test_what_is_no_number_is_no_success(self):
        for margins in ({"jsd": [0.1], "context": [np.nan]}, {"jsd": [np.nan]}):
            own = evaluation(**margins)
            self.assertFalse(own.row()["satisfied"])
            self.assertFalse(own.violation <= 0.0)
            self.assertEqual(own.satisfied_share, 0.0)


class EvaluatorTest(TestCase):
    def setUp(self):
        super().setUp()
        self.evaluator = subjects.evaluator()

    def test_margins_are_those_of_the_signals(self):
        own = self.evaluator
        plan = own.uniform(4)
        found = own(plan)
        signals = own.judge.measure(plan_tensor(own.config, plan)).signals
        for row, length in enumerate(own.prompts.lengths):
            part = {k: v[row, :length] for k, v in signals.items()}
            means = {
                name: sliding_window_view(part[name], 16).mean(axis=-1)
                for name in ("jsd", "factual")
            }
            wanted = {
                "jsd_mean16": 0.15 - means["jsd"].max(),
                "attention": part["attention"].min() - 0.75,
                "context": part["context"].min() - 0.8,
                "factual_mean16": means["factual"].min() - 0.85,
            }
            margins = {k: own[row] for k, own in found.margins.items()}
            self.assertAllClose(margins, wanted, atol=1e-5)

    def test_cost_is_that_of_the_plan_at_the_length_of_the_prompts(self):
        own = self.evaluator
        plan = own.uniform(4)
        wanted = plan_cost(stubs.CONFIG, plan, context=32)
        self.assertEqual(own(plan).cost, wanted)
        self.assertEqual(own.cost(plan), wanted)
        whole = plan_cost(stubs.CONFIG, own.uniform(16), context=32)
        # All parameters at 16 bits, norms and biases too.
        whole = {**whole, "bytes": 2 * 106_816, "compression": 1.0}
        self.assertEqual(own.reference_cost, whole)

    def test_a_plan_runs_once(self):
        own = self.evaluator
        plan = own.plan([8, 3, 8, 3, 8, 3, 8, 3, 8])
        before = own.count, own.judge.blocks
        found = own(plan)
        again = own(dataclasses.replace(plan, name="again"))
        self.assertEqual(own.count, before[0] + 1)
        self.assertEqual(own.judge.blocks, before[1] + 2)
        self.assertEqual(again.margin, found.margin)
        self.assertEqual((again.plan.name, found.plan.name), ("again", "plan"))

    def test_a_plan_with_a_cache_is_read_through_it(self):
        own = self.evaluator
        plan = own.uniform(8)
        found, sizes = {}, {}
        for text in ("identity", "int8", "int2"):
            spec = f"{text}:block=8:window=8" if text != "identity" else text
            kv = KVSpec.parse(spec).to_json()
            coded = own(dataclasses.replace(plan, kv=kv))
            found[text], sizes[text] = coded.means["jsd"], coded.cost["memory"]
            self.assertEqual(coded.row()["kv"], spec)
            signals = own.judge.measure(
                plan_tensor(own.config, plan), own.codecs(kv)
            ).signals
            least = signals["context"].min(
                axis=1, where=own.prompts.mask, initial=1.0
            )
            self.assertAllClose(
                coded.margins["context"], least - 0.8, atol=1e-5
            )
        self.assertEqual(found["identity"], own(plan).means["jsd"])
        self.assertLess(found["int8"], found["int2"])
        self.assertGreater(sizes["identity"], sizes["int8"])
        self.assertGreater(sizes["int8"], sizes["int2"])
        self.assertNotIn("memory", own(plan).cost)

    def test_more_signals_of_the_same_model(self):
        plain = Evaluator(
            self.evaluator.candidate, self.evaluator.prompts, Requirement()
        )
        plain.model = self.evaluator.model
        other = plain.measuring("kl")
        self.assertIs(other.model, plain.model)
        self.assertIs(other.codecs, plain.codecs)
        self.assertIn("kl", other.more)
        self.assertNotIn("kl", plain.more)
        self.assertEqual(other.identity, plain.identity)

    def test_identity_is_what_results_rest_on(self):
        own = subjects.subject()
        widths = subjects.WIDTHS
        same = own.evaluator(own.candidate(widths)).identity
        self.assertEqual(same, self.evaluator.identity)
        for changes in (
            {"formula": "always(jsd <= 0.2)"},
            {"relax_thresholds": 0.1},
            {"prompts": 3},
            {"tokens": 16},
            {"group": 64},
            {"activations": 8},
            {"dtype": "bfloat16"},
            {"model": "tiny-gpt2"},
        ):
            other = subjects.subject(**changes)
            found = other.evaluator(other.candidate(widths)).identity
            self.assertNotEqual(found, same, changes)

    def test_scales_are_part_of_the_identity(self):
        own, other = (subjects.subject(scales=name) for name in ("rtn", "mse"))
        self.assertNotEqual(
            own.evaluator(own.candidate((8,))).identity,
            other.evaluator(other.candidate((8,))).identity,
        )

    def test_a_run_is_known_by_its_weights(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        path = folder / "checkpoints" / "final.safetensors"
        path.parent.mkdir()
        path.write_bytes(b"weights")
        own = self.evaluator.candidate
        found = run_identity(dataclasses.replace(own, workdir=str(folder)))
        self.assertEqual(found, sha256_file(path))
        self.assertIsNone(run_identity(own))
        self.assertIsNone(self.evaluator.identity["run"])

    def test_windows_longer_than_a_prompt_are_refused(self):
        own = subjects.subject(formula="always(jsd_mean99 <= 0.1)")
        with self.assertRaisesRegex(UserError, "99 tokens where.* has 32"):
            own.evaluator(own.candidate((8,)))

    def test_what_a_simulation_cannot_show_is_refused(self):
        own = subjects.subject(formula="always(response_time <= 1)")
        with self.assertRaisesRegex(UserError, "not speak of response_time"):
            own.evaluator(own.candidate((8,)))
