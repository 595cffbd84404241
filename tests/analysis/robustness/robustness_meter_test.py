import numpy as np
from absl.testing import parameterized

from tests.layers.layer_inputs import precision
from tests.models.decoder_test import built
from tests.models.decoder_test import FAMILIES
from tests.test_case import TestCase
from tfshrink.analysis.robustness.condition import Condition
from tfshrink.analysis.robustness.random_precision import drawn_plans
from tfshrink.analysis.robustness.random_precision import RandomPrecision
from tfshrink.analysis.robustness.robustness_meter import RobustnessMeter
from tfshrink.analysis.robustness.settings import NOISES
from tfshrink.analysis.robustness.settings import RobustnessSettings
from tfshrink.data.examples import Examples

WINDOWS = 7  # two batches, the second not full
SCALE = 0.3
PLANS = {"8": [8] * 9, "4": [4] * 9, "2": [2] * 9, "full": None}


class Shared:
    """What the tests of this file compile once."""

    meter = None


def shared_meter():
    if Shared.meter is None:
        model = built(FAMILIES["llama"], precision())
        random = np.random.default_rng(0)
        tokens = random.integers(0, 32, (WINDOWS, 10)).astype("int32")
        mask = np.ones(tokens.shape, "float32")
        mask[:, 0] = 0
        settings = RobustnessSettings(batch_size=4, context=10)
        examples = Examples(tokens, mask)
        Shared.meter = RobustnessMeter(model, examples, settings, SCALE)
    return Shared.meter


class RobustnessMeterTest(TestCase):
    def setUp(self):
        super().setUp()
        self.meter = shared_meter()
        self.plans = {
            name: self.meter.forward.in_force(bits)
            for name, bits in PLANS.items()
        }

    def rise(self, plan, **disturbed):
        """Nats per token above the clean ones."""
        scores = self.meter.scores(plan, **disturbed)
        clean = self.meter.scores(plan)
        return (scores.nats - clean.nats).sum() / clean.tokens.sum()

    @parameterized.parameters(*PLANS)
    def test_attacks_beat_noise_of_their_size_and_pgd_beats_fgsm(self, name):
        plan, found = self.plans[name], {}
        for kind in ("fgsm", "pgd"):
            offsets = self.meter.attack(Condition(kind, 0.1), [plan])
            self.assertLessEqual(np.abs(offsets).max(), 0.1 * SCALE * 1.0001)
            found[kind] = self.rise(plan, offsets=offsets)
        signs = Condition("random_signs", 0.1)
        noise = abs(self.rise(plan, condition=signs))
        self.assertGreater(found["fgsm"], 3 * noise)
        self.assertGreater(found["fgsm"], 0.01)
        self.assertGreaterEqual(found["pgd"], found["fgsm"])

    @parameterized.parameters("fgsm", "pgd")
    def test_epsilon_zero_changes_nothing(self, kind):
        plan = self.plans["4"]
        offsets = self.meter.attack(Condition(kind, 0.0), [plan])
        self.assertAllEqual(offsets, np.zeros_like(offsets))
        self.assertAllEqual(
            self.meter.scores(plan, offsets=offsets), self.meter.scores(plan)
        )

    @parameterized.parameters(
        "random_signs", "weight_noise", "token_dropout", "token_substitution"
    )
    def test_noise_of_strength_zero_changes_nothing(self, kind):
        plan = self.plans["4"]
        self.assertAllEqual(
            self.meter.scores(plan, condition=Condition(kind, 0.0)),
            self.meter.scores(plan),
        )

    def test_every_noise_is_seeded_and_stronger_is_further(self):
        strengths = {"weight": (0.02, 0.5), "token": (0.1, 0.9)}
        strengths["random"], bits = (0.02, 2.0), (8, 2)
        plan = self.plans["8"]
        clean = self.meter.scores(plan).nats
        for kind in NOISES:
            weak, strong = strengths.get(kind.split("_")[0], bits)
            if kind.endswith("quantization"):
                weak, strong = bits
            with self.subTest(kind):
                one, other, again = (
                    self.meter.scores(plan, condition=Condition(kind, own)).nats
                    for own in (weak, strong, weak)
                )
                self.assertAllEqual(again, one)
                self.assertGreater(
                    np.abs(other - clean).sum(), np.abs(one - clean).sum()
                )

    def test_plans_share_what_is_drawn_and_windows_keep_it(self):
        # A window alone is disturbed as among the others.
        plan = self.plans["8"]
        for kind, own in (("token_dropout", 0.5), ("token_substitution", 0.5)):
            condition = Condition(kind, own)
            whole = self.meter.scores(plan, condition=condition)
            part = self.meter.scores(plan, [5, 2], condition=condition)
            self.assertAllClose(part.nats, whole.nats[[5, 2]], rtol=1e-5)

    def test_attacks_do_not_see_each_other(self):
        plan = self.plans["2"]
        first = self.meter.attack(Condition("pgd", 0.1), [plan])
        self.meter.attack(Condition("pgd", 0.3), [self.plans["8"]], 2)
        self.meter.scores(plan, condition=Condition("weight_noise", 0.3))
        again = self.meter.attack(Condition("pgd", 0.1), [plan])
        self.assertAllEqual(again, first)

    def test_a_sampling_attacker_follows_the_plans_it_draws(self):
        plans = [self.plans["8"], self.plans["2"]]
        condition = Condition("pgd", 0.1)
        found = self.meter.attack(condition, plans, samples=1)
        self.assertAllEqual(
            self.meter.attack(condition, plans, samples=1), found
        )
        whole = self.meter.attack(condition, plans)
        self.assertNotAllClose(whole, found)


class RandomPrecisionTest(TestCase):
    def setUp(self):
        super().setUp()
        self.meter = shared_meter()
        names = ("8", "4", "2")
        self.plans = [self.meter.forward.in_force(PLANS[x]) for x in names]

    @parameterized.parameters("row", "batch")
    def test_each_window_is_at_the_plan_it_drew(self, every):
        defence = RandomPrecision(self.meter, self.plans, every)
        offsets = self.meter.attack(Condition("fgsm", 0.1), self.plans[:1])
        own = [self.meter.scores(plan, offsets=offsets) for plan in self.plans]
        found = defence.scores(offsets)
        for window, drawn in enumerate(defence.draws):
            self.assertAllClose(
                [x[window] for x in found],
                [x[window] for x in own[drawn]],
                rtol=1e-5,
            )

    def test_draws(self):
        draws = drawn_plans(3000, 3, 1, 0)
        shares = np.bincount(draws, minlength=3) / 3000
        self.assertAllClose(shares, [1 / 3] * 3, atol=0.03)
        self.assertAllEqual(drawn_plans(3000, 3, 1, 0), draws)
        self.assertNotAllClose(drawn_plans(3000, 3, 1, 1), draws)
        together = drawn_plans(10, 3, 4, 0)
        self.assertLen(together, 10)
        for start in (0, 4, 8):
            self.assertLen(set(together[start : start + 4]), 1)

    def test_aiming_at_all_plans_is_worse_for_them_than_aiming_at_one(self):
        condition = Condition("pgd", 0.1)

        def expected(offsets):
            """Mean nats over what may be drawn, which needs no draws."""
            return np.mean(
                [
                    self.meter.scores(plan, offsets=offsets).nats.sum()
                    for plan in self.plans
                ]
            )

        aimed = expected(self.meter.attack(condition, self.plans))
        for plan in self.plans:
            single = expected(self.meter.attack(condition, [plan]))
            self.assertGreater(aimed, single)
