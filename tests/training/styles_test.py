from tests.test_case import TestCase
from tfshrink.plan import Plan
from tfshrink.training.styles import STYLES

PLANS = [Plan.parse(text, layers=2) for text in ("4", "8", "2")]


def updates(name, step=0, schedule=None):
    """Names of the plans, and of those each learns from, by update."""
    found = []
    for update in STYLES[name][0](step, PLANS, schedule):
        plans = [term.plan.name for term in update]
        sources = [[plans[i] for i in term.learns_from] for term in update]
        found.append(list(zip(plans, sources, strict=True)))
    return found


class StylesTest(TestCase):
    def test_spnet_is_one_update_over_all_plans(self):
        self.assertEqual(updates("spnet"), [[("4", []), ("8", []), ("2", [])]])

    def test_cyclic_is_one_update_a_plan(self):
        self.assertEqual(
            updates("cyclic"), [[("4", [])], [("8", [])], [("2", [])]]
        )

    def test_instantnet_learns_from_all_higher_precisions(self):
        self.assertEqual(
            updates("instantnet"),
            [[("8", []), ("4", ["8"]), ("2", ["8", "4"])]],
        )

    def test_the_others_take_their_plan_from_the_schedule(self):
        for name in ("cpt", "rpt", "static", "switch"):
            self.assertEqual(STYLES[name][1], name)
            found = updates(name, 4, lambda step: PLANS[step % 3])
            self.assertEqual(found, [[("8", [])]])

    def test_a_style_without_schedule_says_so(self):
        for name in ("cyclic", "instantnet", "spnet"):
            self.assertIsNone(STYLES[name][1])
