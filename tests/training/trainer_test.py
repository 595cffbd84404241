import functools
from unittest import mock

import numpy as np
from keras import ops

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tests.training import tiny
from tfshrink import backend
from tfshrink.errors import UserError
from tfshrink.training import teacher as teacher_module
from tfshrink.training.fit import make_schedule
from tfshrink.training.schedules import cosine_rate
from tfshrink.training.styles import STYLES
from tfshrink.training.styles import Term
from tfshrink.training.trainer import DivergedError
from tfshrink.training.trainer import Trainer

PARTS = ("adapters", "scales")


@functools.cache
def shared_model():
    """One model for the whole file, adapters moved off zero."""
    model = tiny.model()
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        if variable.path.endswith("/adapters/up"):
            variable.assign(random.normal(0, 0.02, variable.shape))
    return model


@functools.cache
def shared_trainer():
    """One trainer: styles and plans are arguments, it compiles once."""
    return Trainer(
        shared_model(),
        style=functools.partial(
            STYLES["spnet"][0], plans=tiny.plans("8", "4", "2"), schedule=None
        ),
        steps=8,
        parts=PARTS,
        cross_entropy=0.5,
    )


def batch(rows=2, seed=0):
    examples = tiny.text(rows, seed=seed)
    return {"tokens": examples.tokens, "mask": examples.mask}


def added_up(trainer, terms, batches, teachers=None):
    """Losses of an update and the gradient sums it leaves, cleared after."""
    if teachers is None:
        teachers = [trainer.said(own) for own in batches]
    found = trainer._terms(terms, batches, teachers, {})
    sums = [to_numpy(total) for total in trainer.sums]
    for total in trainer.sums:
        total.assign(ops.zeros_like(total.value))
    return found, sums


def direct(model, variables, batch, plan, teachers, cross_entropy):
    """The loss from whole logits and its gradient, nothing sliced.

    Args:
        model: The decoder.
        variables: What to differentiate in.
        batch: `{"tokens", "mask"}`.
        plan: The plan to run.
        teachers: Plans (`None` is full precision) to learn from.
        cross_entropy: Weight of the cross-entropy.
    """
    tokens, mask = batch["tokens"], batch["mask"][:, 1:]
    targets = [
        ops.softmax(model(tokens, other and np.array(other.bits))[:, :-1])
        for other in teachers
    ]

    def forward():
        logits = model(tokens, np.array(plan.bits))[:, :-1]
        log_p = ops.log_softmax(logits)
        gold = ops.one_hot(tokens[:, 1:], logits.shape[-1])
        loss = -cross_entropy * ops.sum(gold * log_p, -1)
        for target in targets:
            kl = ops.sum(target * (ops.log(target) - log_p), -1)
            loss = loss + kl / len(targets)
        return ops.sum(loss * mask) / mask.sum(), ()

    loss, _, gradients = backend.value_and_gradients(forward, variables)
    return float(loss), [to_numpy(g) for g in gradients]


def mean_gradients(found):
    """Means over results of `direct`, variable by variable."""
    columns = zip(*[gradients for _, gradients in found], strict=True)
    return [np.mean(column, 0) for column in columns]


class GradientTest(TestCase):
    def assertGradientsClose(self, ours, direct):
        for a, b in zip(ours, direct, strict=True):
            self.assertAllClose(
                a, b, rtol=1e-3, atol=1e-4 * (np.abs(b).max() + 1e-3)
            )

    def test_spnet_gradient_is_the_mean_of_the_plans_direct_ones(self):
        trainer, own = shared_trainer(), batch()
        [update] = trainer.style(0)
        found, sums = added_up(trainer, update, [own])
        expected = [
            direct(trainer.model, trainer.variables, own, t.plan, [None], 0.5)
            for t in update
        ]
        for (_, loss, _), (direct_loss, _) in zip(found, expected, strict=True):
            self.assertAllClose(loss, direct_loss, rtol=1e-4, atol=1e-5)
        means = mean_gradients(expected)
        self.assertGradientsClose(sums, means)

    def test_instantnet_learns_from_higher_plans_without_moving_them(self):
        trainer, own = shared_trainer(), batch()
        high, low = tiny.plans("8", "2")
        found, sums = added_up(trainer, [Term(high), Term(low, (0,))], [own])
        parts = [
            direct(trainer.model, trainer.variables, own, high, [None], 0.5),
            direct(
                trainer.model, trainer.variables, own, low, [None, high], 0.5
            ),
        ]
        self.assertAllClose(found[1][1], parts[1][0], rtol=1e-4, atol=1e-5)
        means = mean_gradients(parts)
        self.assertGradientsClose(sums, means)

    def test_accumulation_adds_up_to_one_larger_batch(self):
        trainer = shared_trainer()
        [plan] = tiny.plans("4")
        small = [batch(seed=1), batch(seed=2)]
        whole = {
            name: np.concatenate([part[name] for part in small])
            for name in ("tokens", "mask")
        }
        _, apart = added_up(trainer, [Term(plan)], small)
        _, together = added_up(trainer, [Term(plan)], [whole])
        self.assertGradientsClose(apart, together)

    def test_padding_neither_counts_nor_teaches(self):
        trainer, own = shared_trainer(), batch()
        [plan] = tiny.plans("4")
        found, sums = added_up(trainer, [Term(plan)], [own])
        # Row 1 is padding from the middle on: other tokens, same loss.
        tokens = own["tokens"].copy()
        tokens[1, 8:] = 7
        changed = {**own, "tokens": tokens}
        again, new = added_up(trainer, [Term(plan)], [changed])
        self.assertAllClose(found[0][1:], again[0][1:], rtol=1e-5)
        self.assertGradientsClose(new, sums)

    def test_prompts_do_not_count(self):
        trainer, own = shared_trainer(), batch()
        [plan] = tiny.plans("4")
        mask = own["mask"].copy()
        mask[:, :6] = 0  # as of a prompt of six tokens
        own = {**own, "mask": mask}
        found, sums = added_up(trainer, [Term(plan)], [own])
        loss, gradients = direct(
            trainer.model, trainer.variables, own, plan, [None], 0.5
        )
        self.assertAllClose(found[0][1], loss, rtol=1e-4, atol=1e-5)
        self.assertGradientsClose(sums, gradients)

    def test_remat_changes_no_gradient(self):
        plain = shared_trainer()
        model = tiny.model(remat=True)
        for to, value in zip(
            model.variables, plain.model.variables, strict=True
        ):
            to.assign(value)
        thrifty = Trainer(
            model, style=plain.style, steps=8, parts=PARTS, cross_entropy=0.5
        )
        [update] = plain.style(0)
        _, sums = added_up(plain, update, [batch()])
        _, again = added_up(thrifty, update, [batch()])
        self.assertGradientsClose(again, sums)


class StepTest(TestCase):
    def setUp(self):
        super().setUp()
        self.trainer = shared_trainer()
        start = {k: to_numpy(v) for k, v in self.trainer.state().items()}
        style = self.trainer.style

        def restore():
            self.trainer.style = style
            for name, variable in self.trainer.state().items():
                variable.assign(start[name])
            for total in self.trainer.sums:
                total.assign(ops.zeros_like(total.value))

        self.addCleanup(restore)

    def test_every_style_lowers_the_loss(self):
        trainer, plans = self.trainer, tiny.plans("8", "4", "2")
        start = {k: to_numpy(v) for k, v in trainer.state().items()}
        own = batch(4)
        judged = [Term(plan) for plan in plans]
        settings = tiny.settings(total_steps=8, cycles=1, switch_interval=2)
        for name, (function, schedule) in STYLES.items():
            for key, variable in trainer.state().items():
                variable.assign(start[key])
            plan_at = make_schedule(schedule, trainer.model, settings, plans)
            chosen = plans if schedule != "static" else plans[::-1]
            if schedule == "static":
                plan_at = make_schedule(
                    schedule, trainer.model, settings, chosen
                )
            trainer.style = functools.partial(
                function, plans=chosen, schedule=plan_at
            )
            before, _ = added_up(trainer, judged, [own])
            for step in range(8):
                metrics = trainer.step(step, lambda micro: own)
                self.assertEqual(metrics["tokens"], int(own["mask"].sum()))
            after, _ = added_up(trainer, judged, [own])
            self.assertLess(
                np.mean([loss for _, loss, _ in after]),
                np.mean([loss for _, loss, _ in before]),
                name,
            )

    def test_plans_never_trace_anew(self):
        self.trainer.step(0, lambda micro: batch())
        traces = self.trainer.traces
        self.trainer.style = lambda step: [
            [Term(plan)] for plan in tiny.plans("7", "stripe-8-4", "3", "16")
        ]
        self.trainer.step(1, lambda micro: batch())
        self.assertEqual(self.trainer.traces, traces)

    def test_two_plans_of_one_name_both_count(self):
        four, two = tiny.plans("4", "2")
        object.__setattr__(two, "name", "4")
        self.trainer.style = lambda step: [[Term(four), Term(two)]]
        apart = added_up(self.trainer, [Term(four), Term(two)], [batch()])[0]
        metrics = self.trainer.step(0, lambda micro: batch())
        self.assertAllClose(
            metrics["loss"], np.mean([x[1] for x in apart]), rtol=1e-4
        )

    def test_a_diverged_loss_names_step_and_plan_and_moves_nothing(self):
        trainer = self.trainer
        poked = next(v for v in trainer.variables if v.path.endswith("scales"))
        poked.assign(np.full(poked.shape, np.nan, "float32"))
        others = [v for v in trainer.variables if v is not poked]
        before = [to_numpy(v) for v in others]
        with self.assertRaisesRegex(DivergedError, "plan 8 .*step 4") as caught:
            trainer.step(3, lambda micro: batch())
        self.assertNotIn("\n", str(caught.exception))
        self.assertIsInstance(caught.exception, UserError)
        for variable, value in zip(others, before, strict=True):
            self.assertAllEqual(to_numpy(variable), value)
        with self.assertRaisesRegex(DivergedError, "not finite after step 4"):
            trainer.check_variables(3)

    def test_rates_follow_the_cosine_and_the_bits(self):
        trainer = self.trainer
        [plan] = tiny.plans("4")
        for scaled, share in ((False, 1.0), (True, 0.5)):
            trainer.bit_rates = scaled
            self.addCleanup(setattr, trainer, "bit_rates", False)
            added_up(trainer, [Term(plan)], [batch()])
            trainer._move(5, [Term(plan)])
            for name, optimizer in trainer.optimizers.items():
                self.assertAllClose(
                    float(optimizer.learning_rate),
                    share
                    * cosine_rate(
                        5, total=8, peak=trainer.rates[name], warmup=0.2
                    ),
                    rtol=1e-5,
                )


class PartsTest(TestCase):
    def test_the_teacher_stays_though_norms_are_trained(self):
        trainer = Trainer(
            tiny.model(),
            style=shared_trainer().style,
            steps=2,
            parts=("norms",),
            rates={"norms": 0.1},
        )
        own = batch()
        hidden = to_numpy(trainer.model.hidden(own["tokens"]))
        before = [to_numpy(x) for x in trainer.said(own)["known"]]
        trainer.step(0, lambda micro: own)
        self.assertNotAllClose(
            trainer.model.hidden(own["tokens"]), hidden, atol=1e-2
        )
        self.assertAllClose(trainer.said(own)["known"], before, atol=1e-5)

    def test_a_teacher_too_large_to_keep_teaches_the_same(self):
        def losses():
            style = shared_trainer().style
            trainer = Trainer(tiny.model(), style=style, steps=2)
            own = [trainer.step(i, lambda micro: batch()) for i in range(2)]
            return [result["loss"] for result in own]

        kept = losses()
        with mock.patch.object(teacher_module, "KEPT_BYTES", 0):
            self.assertAllClose(losses(), kept, rtol=1e-4)

    def test_what_is_kept_of_the_teacher_is_bounded_for_an_update(self):
        own = batch()
        rows = own["tokens"].shape[0] * (own["tokens"].shape[1] - 1)
        size = 4 * rows * shared_model().config.vocabulary  # float32
        with mock.patch.object(teacher_module, "KEPT_BYTES", size):
            for accumulation, expected in ((1, "known"), (2, "hidden")):
                trainer = Trainer(
                    shared_model(),
                    style=shared_trainer().style,
                    steps=2,
                    accumulation=accumulation,
                )
                self.assertEqual(list(trainer.said(own)), [expected])

    def test_a_part_the_model_lacks_is_refused(self):
        with self.assertRaisesRegex(UserError, "`parts` must name something"):
            Trainer(
                tiny.model(ranks=(), fit=False),
                style=None,
                steps=1,
                parts=("adapters",),
            )

    def test_an_unknown_part_gets_a_suggestion(self):
        with self.assertRaisesRegex(UserError, "Did you mean `scales`"):
            Trainer(shared_model(), style=None, steps=1, parts=("scale",))
