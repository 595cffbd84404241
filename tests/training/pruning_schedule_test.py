import numpy as np
from absl.testing import parameterized

from tests.test_case import ON_TENSORFLOW
from tests.test_case import TestCase
from tests.training import tiny
from tfshrink.errors import UserError
from tfshrink.training.fit import make_style
from tfshrink.training.pruning_schedule import gradual
from tfshrink.training.pruning_schedule import NOTHING
from tfshrink.training.pruning_schedule import one_shot
from tfshrink.training.pruning_schedule import SCHEDULES
from tfshrink.training.styles import Term


class PruningScheduleTest(TestCase):
    def setUp(self):
        super().setUp()
        if not ON_TENSORFLOW:
            self.skipTest("these schedules are TensorFlow's")

    def test_polynomial_is_the_formula_of_zhu_and_gupta(self):
        share = SCHEDULES["polynomial"](4, 20)
        for step in range(30):
            part = np.clip((step - 4) / 16, 0.0, 1.0)
            self.assertAllClose(share(step), 1 - (1 - part) ** 3, atol=1e-6)

    def test_constant_begins_at_once(self):
        share = SCHEDULES["constant"](3, 9)
        self.assertEqual([share(s) for s in range(5)], [0, 0, 0, 1, 1])

    @parameterized.parameters(
        ("4:pruning=.4", [NOTHING, 0.2, 0.4]),
        ("8:pruning=2of4", [NOTHING, NOTHING, 0.5]),
    )
    def test_plans_prune_their_share_and_keep_their_form(self, text, levels):
        plan, plain = tiny.plans(text, "4")
        style = gradual(
            lambda step: [[Term(plan), Term(plain, (0,))]],
            lambda step: [0.0, 0.5, 1.0][step],
        )
        for step, level in enumerate(levels):
            ((term, other),) = style(step)
            self.assertAllClose(term.plan.pruning, [level] * 8 + [0.0])
            self.assertEqual(other, Term(plain, (0,)))
        self.assertEqual(term.plan, plan)

    def test_a_run_prunes_as_its_settings_say(self):
        settings = tiny.settings(plan="8:pruning=.5", total_steps=8)
        style = make_style(tiny.model(), settings, tiny.plans("8:pruning=.5"))
        found = [style(step)[0][0].plan.pruning[0] for step in range(8)]
        self.assertAllClose(found[0], NOTHING)
        self.assertAllClose(found[6:], [0.5, 0.5])  # 3/4 of the steps
        self.assertTrue(np.all(np.diff(found[:6]) > 0))

    def test_the_end_comes_after_the_beginning(self):
        with self.assertRaisesRegex(UserError, "`pruning_end` must come"):
            tiny.settings(pruning_begin=5, pruning_end=5)


class OneShotTest(TestCase):
    def test_all_goes_at_the_first_step(self):
        self.assertEqual(one_shot(5, 9)(0), 1.0)
