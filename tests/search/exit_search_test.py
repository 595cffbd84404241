import contextlib
import dataclasses
import io
import pathlib
import tempfile

import numpy as np
from absl.testing import parameterized
from scipy.special import log_softmax
from scipy.special import rel_entr
from scipy.special import softmax

from tests.exits.walked import walked
from tests.search import exit_runs
from tests.search import subjects
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.evaluation.generate import generate
from tfshrink.exit_spec import ExitSpec
from tfshrink.exits.study import evaluate_exits
from tfshrink.exits.study import ExitSubject
from tfshrink.exits.study import has_policy
from tfshrink.kv_spec import KVSpec
from tfshrink.plan import Plan
from tfshrink.search.certify import certify
from tfshrink.search.search import predicted_seconds
from tfshrink.search.search import prepare
from tfshrink.search.search import search
from tfshrink.search.search import Where
from tfshrink.search.search_report import print_certificate
from tfshrink.search.search_report import print_search
from tfshrink.search.settings import SearchSettings
from tfshrink.search.subject import Subject
from tfshrink.structure import plan_tensor

KV = "int8:block=8:window=8:sinks=2"
SHAPE = {"prompts": 2, "tokens": 40}


def whole(bits=4, exit=exit_runs.SOME, kv=KV):
    """Fields of a plan with everything in it."""
    return {
        **Plan.parse(str(bits), layers=2, group=32).to_json(),
        "kv": kv and KVSpec.parse(kv).to_json(),
        "exit": exit and ExitSpec.parse(exit).to_json(),
    }


def setUpModule():
    global RUN, CHEAP
    folder = tempfile.mkdtemp()
    RUN = exit_runs.write_run(f"{folder}/run")
    small = {"blocks": 0, "rank": 4, "candidates": 4, "hidden": 4}
    CHEAP = exit_runs.write_run(f"{folder}/cheap", **small)


def settings(**values):
    own = {"bits": "8,4", "iterations": 10, "seeds": 4, **SHAPE, **values}
    return SearchSettings(**{"exit": f"{exit_runs.MOST};none", **own})


class WholePlanTest(TestCase):
    """Weights, K/V cache and exits of one plan, judged together."""

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.enterContext(subjects.own_cache(self.folder / "cache"))

    def test_signals_are_those_of_generation(self):
        subject = Subject(workdir=RUN, **SHAPE)
        own = subject.evaluator(subject.candidate((8, 4)), kv_length=256)
        plan = Plan.from_json(whole())
        found = own(plan)
        bits, codecs = plan_tensor(own.config, plan), own.codecs(plan.kv)
        spec = ExitSpec.parse(exit_runs.SOME)
        leaving = own.exits(plan.exit, own.model)
        judged = own.judge.measure(bits, codecs, leaving)
        depths = []
        for index, length in enumerate(own.prompts.lengths):
            row = own.prompts.tokens[index, :length]
            logits, depth = walked(
                own.model, spec, row, bits=bits, codecs=codecs
            )
            p = softmax(own.reference.logits[index, :length], axis=-1)
            q = softmax(logits.astype("float64"), axis=-1)
            middle = (p + q) / 2
            jsd = rel_entr(p, middle) + rel_entr(q, middle)
            signals = {k: x[index, :length] for k, x in judged.signals.items()}
            self.assertAllClose(signals["jsd"], jsd.sum(-1) / 2, atol=1e-4)
            best = np.arange(length), p.argmax(-1)
            self.assertAllClose(signals["factual"], (q / p)[best], atol=1e-3)
            depths.append(depth)
        depths = np.concatenate(depths)
        self.assertBetween((depths == 1).mean(), 0.1, 0.9)
        self.assertAllClose(found.cost["layers"], depths.mean())
        self.assertAllClose(found.cost["by_layer"]["1"], (depths == 1).mean())
        self.assertEqual(found.cost["exit"], str(spec))
        self.assertEqual(found.cost["kv"], KV)
        bits = (4 * 2 * 36864 + 8 * 512 * 64) / (2 * 36864 + 512 * 64)
        self.assertEqual(found.cost["effective_bits"], bits)

    def test_likelihood_is_that_of_the_whole_head(self):
        subject = Subject(workdir=RUN, **SHAPE)
        own = subject.evaluator(subject.candidate((8,)), more=("kl",))
        plan = Plan.from_json(whole(8, exit="margin:0:pending=999", kv=None))
        found = own(plan)
        self.assertEqual(found.cost["exit_rate"], 1.0)
        model, nats = own.model, []
        bits = plan_tensor(own.config, plan)
        for row, length in zip(
            own.prompts.tokens, own.prompts.lengths, strict=True
        ):
            states = []
            model.hidden(
                row[None, :length],
                bits,
                tap=lambda *own, states=states: states.append(own),
            )
            ((x, rotation),) = states
            hidden = model.exit_heads[0](x, rotation=rotation)[0]
            logits = np.asarray(model.logits(hidden, bits))[0, :-1]
            nats += [
                -row_[token]
                for row_, token in zip(
                    log_softmax(logits, axis=-1), row[1:length], strict=True
                )
            ]
        self.assertAllClose(
            found.means["perplexity"], np.exp(np.mean(nats)), rtol=1e-4
        )
        self.assertLess(found.means["kl"], 100.0)

    def test_bytes_that_a_token_reads(self):
        subject = Subject(workdir=RUN, **SHAPE)
        own = subject.evaluator(subject.candidate((8, 4)), kv_length=256)
        plan = Plan.from_json(whole(4, exit="margin:.5", kv="identity"))
        shares = np.array([0.25, 0.75])
        cost = own.exits.cost(plan, own.model, shares)
        # 36,864 weights at 4 bits, a 16-bit scale for 32 of them; the head of
        # 512 x 64 at 8 bits, 12 bytes a token; 256 tokens of 2 x 2 x 16 numbers
        # at 16 bits a block, of the model or of an exit.
        block = 36864 // 2 + 36864 // 32 * 2
        head, cache = 512 * 64 + 512 * 12, 256 * 2 * 2 * 16 * 2
        test = 2 * (36864 + 64 * 64 + 64 * 64) + cache
        propose = 2 * 16 * (64 + 512) + 8 * head / 512
        early = block + cache + test + propose
        late = 2 * (block + cache) + test + propose + head
        self.assertAllClose(cost["read_bytes"], 0.25 * early + 0.75 * late)
        self.assertEqual(cost["layers"], 1.75)
        self.assertEqual(cost["exit_kv_bytes"], cache)
        exit_ = own.model.exit_heads[0].variables
        exit_ += own.model.light_head.variables
        size = sum(int(np.prod(v.shape)) for v in exit_)
        self.assertEqual(cost["exit_bytes"], 2 * size)
        priced = own.cost(plan)
        bare = own.cost(Plan.from_json(whole(4, exit=None, kv=None)))
        self.assertEqual(priced["bytes"], bare["bytes"] + 2 * size)
        self.assertEqual(
            priced["memory"], priced["bytes"] + priced["kv_bytes"] + cache
        )
        self.assertEqual(bare["read_bytes"], 2 * block + head)
        self.assertEqual((bare["exit"], bare["weights_read"]), ("none", 1.0))

    def test_generation_takes_the_policy_of_the_plan(self):
        path = self.folder / "plan.json"
        values = whole(exit=exit_runs.MOST)
        Plan.from_json(values).save(path)
        options = {"workdir": RUN, "plan": str(path), "max_new_tokens": 24}
        options |= {"temperature": 0.0, "repetition_penalty": 1.0}

        def made(**more):
            return generate("The list", lambda piece: None, **options, **more)

        own = made()
        self.assertLess(own["layers"], 2.0)
        self.assertEqual(own["exit"], "classifier:0.3:pending=99")
        self.assertEqual(made(exit=exit_runs.MOST)["text"], own["text"])
        self.assertEqual(made(exit="none")["layers"], 2.0)
        self.assertTrue(has_policy(str(path)))
        for text in (None, "8", f"8;{path}", "8;4"):
            self.assertFalse(has_policy(text))
        subject = ExitSubject(
            workdir=RUN, plan=str(path), prompts=4, tokens=16, new=24
        )
        rows = evaluate_exits(subject, None, speed=False)["exits"]
        self.assertEqual([row["exit"] for row in rows], [own["exit"]])
        self.assertLess(rows[0]["layers"], 2.0)


class ExitSearchTest(TestCase):
    """A search among exit policies, and what it leaves."""

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.enterContext(subjects.own_cache(self.folder / "cache"))

    def test_from_a_search_to_a_certificate(self):
        subject = Subject(
            workdir=CHEAP, formula="always(attention >= 0.5)", **SHAPE
        )
        results, folder = search(
            subject,
            settings(kv=f"identity,{KV}", kv_length=256),
            Where(results_dir=str(self.folder / "found")),
        )
        with contextlib.redirect_stdout(io.StringIO()) as out:
            print_search(results, folder, subject)
        self.assertIn("blocks that a token ran", out.getvalue())
        own = results["search"]
        self.assertEqual(own["objectives"], ["read_bytes", "margin"])
        self.assertEqual(own["variables"], ["bits", "exit", "kv"])
        rows = results["plans"]
        self.assertEqual(rows[0]["exit"], "classifier:0.3:pending=99")
        evaluator = prepare(subject, settings()).evaluator
        plan = Plan.load(f"{folder}/plans/{rows[0]['name']}.json")
        self.assertEqual(plan.hash, rows[0]["hash"])
        self.assertEqual(str(ExitSpec.from_json(plan.exit)), rows[0]["exit"])
        evaluator.codecs.length = 256
        found = evaluator(plan)
        self.assertAllClose(found.cost["read_bytes"], rows[0]["read_bytes"])
        self.assertAllClose(found.margin, rows[0]["margin"], atol=1e-4)
        file = self.folder / "c.json"
        made = certify(
            subject,
            f"{folder}/plans/{rows[0]['name']}.json",
            prompts=18,
            kv_length=256,
            output_file=file,
        )
        certified = made["plans"][0]
        self.assertEqual(certified["exit"], rows[0]["exit"])
        self.assertGreater(certified["tokens_by_layer"]["1"], 0)
        total = sum(certified["tokens_by_layer"].values())
        self.assertGreater(total, 18 * 20)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            print_certificate(made, file)
        self.assertIn("leave early by classifier:0.3", out.getvalue())

    @parameterized.parameters("greedy", "progressive")
    def test_other_methods_let_tokens_leave_too(self, method):
        results, _ = search(
            Subject(workdir=CHEAP, formula="always(attention >= 0.1)", **SHAPE),
            settings(method=method, iterations=30, bits="8"),
            Where(results_dir=str(self.folder / method)),
            skip_sensitivity=True,
        )
        cheapest = results["plans"][0]
        self.assertEqual(cheapest["exit"], "classifier:0.3:pending=99")
        self.assertLess(cheapest["read_bytes"], results["reference"]["bytes"])

    def test_policies_go_from_what_reads_most(self):
        # An exit that asks and lets nothing go is worse than none.
        policies = f"none;{exit_runs.MOST};margin:1"
        problem = prepare(
            Subject(workdir=CHEAP, **SHAPE), settings(exit=policies)
        )
        names = [str(own) for own in problem.space.options("exit")]
        wanted = ["margin:1", "None", "classifier:0.3:pending=99"]
        self.assertEqual(names, wanted)

    def test_prediction_is_of_a_plan_with_a_policy(self):
        found = predicted_seconds(Subject(workdir=RUN, **SHAPE), settings())
        self.assertEqual(found["variables"], 10)
        self.assertGreater(found["seconds_a_plan"], 0.0)

    def test_depths_are_those_of_the_plan_once_it_was_judged(self):
        own = prepare(Subject(workdir=CHEAP, **SHAPE), settings()).evaluator
        exit_ = ExitSpec.parse(exit_runs.SOME).to_json()
        plan = dataclasses.replace(own.uniform(4), exit=exit_)
        full = own(dataclasses.replace(own.uniform(16), exit=exit_)).cost
        self.assertEqual(own.cost(plan)["by_layer"], full["by_layer"])
        found = own(plan)
        self.assertEqual(own.cost(plan), found.cost)

    @parameterized.parameters(
        ({"exit": "margin:.5:layers=2"}, "exits behind: 1. Received: 2"),
        ({"exit": "margin:.5:missing=propagate"}, "must be missing=lazy"),
        ({"exit": "policy:.5:weights=none.json"}, "needs weights=FILE"),
    )
    def test_a_policy_that_cannot_be_judged(self, fields, message):
        place = self.folder / "none"
        with self.assertRaisesRegex(UserError, message):
            search(
                Subject(workdir=RUN, **SHAPE),
                settings(**fields),
                Where(results_dir=str(place)),
            )
        self.assertFalse(place.exists())

    def test_a_model_without_exits(self):
        with self.assertRaisesRegex(UserError, "needs a run with exits.*marg"):
            prepare(subjects.subject(), settings(exit="none;margin:.5"))
        path = self.folder / "plan.json"
        Plan.from_json(whole(kv=None)).save(path)
        with self.assertRaisesRegex(UserError, "a model without exits"):
            certify(subjects.subject(), str(path), prompts=4)
