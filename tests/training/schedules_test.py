import math

from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.plan import Plan
from tfshrink.training import schedules

PLANS = [Plan.parse(text, layers=2) for text in ("4", "8", "2")]


def names(plan_at, steps):
    return [plan_at(step).name for step in steps]


class CosineRateTest(TestCase):
    def test_rate_matches_a_table_worked_by_hand(self):
        # 2 of 10 steps rise; then half a cosine over 8 steps to a tenth.
        rates = [
            schedules.cosine_rate(
                step, total=10, peak=2.0, warmup=0.2, floor=0.1
            )
            for step in (0, 1, 2, 4, 6, 8, 10)
        ]
        half = math.sqrt(0.5)
        self.assertAllClose(
            rates,
            [
                1.0,
                2.0,
                2.0,
                2.0 * (0.1 + 0.45 * (1 + half)),
                2.0 * 0.55,
                2.0 * (0.1 + 0.45 * (1 - half)),
                0.2,
            ],
        )

    def test_a_run_of_one_step_has_a_rate(self):
        self.assertEqual(schedules.cosine_rate(0, total=1, peak=3.0), 3.0)


class CyclicPrecisionTest(TestCase):
    def test_bits_match_a_table_worked_by_hand(self):
        # 2 + 3 (1 - cos(pi t / 8)): 2, 2.23, 2.88, 3.85, 5, 6.15, 7.12, 7.77
        bits = [
            schedules.cpt_bits(step, period=8, low=2, high=8)
            for step in range(10)
        ]
        self.assertEqual(bits, [2, 2, 3, 4, 5, 6, 7, 8, 2, 2])

    def test_cycles_fill_the_run(self):
        plan_at = schedules.cpt_schedule(PLANS[1], total=16, cycles=2)
        bits = [plan_at(step).bits for step in range(16)]
        self.assertEqual([b[0] for b in bits], [2, 2, 3, 4, 5, 6, 7, 8] * 2)
        for row in bits:
            self.assertLen(set(row[:8]), 1)
            self.assertEqual(row[8], 8)  # the embedding stays

    def test_each_block_runs_ahead_by_the_offset(self):
        plan_at = schedules.cpt_schedule(
            PLANS[1], total=16, cycles=2, layer_offset=3
        )
        self.assertEqual(plan_at(1).bits, (2,) * 4 + (5,) * 4 + (8,))

    def test_an_explicit_pattern_replaces_the_cosine(self):
        plan_at = schedules.cpt_schedule(
            PLANS[1], total=12, cycles=2, pattern=(8, 4, 2)
        )
        self.assertEqual(
            [plan_at(step).bits[0] for step in range(12)],
            [8, 8, 4, 4, 2, 2] * 2,
        )

    def test_bad_bounds_are_named(self):
        with self.assertRaisesRegex(UserError, "`cycles`.*0"):
            schedules.cpt_schedule(PLANS[0], total=8, cycles=0)
        with self.assertRaisesRegex(UserError, "`low`.*8 and 2"):
            schedules.cpt_schedule(PLANS[0], total=8, low=8, high=2)
        with self.assertRaisesRegex(UserError, "bits=9"):
            schedules.cpt_schedule(PLANS[0], total=8, pattern=(8, 9))
        with self.assertRaisesRegex(UserError, "bits=1"):
            schedules.cpt_schedule(PLANS[0], total=8, low=1)
        with self.assertRaisesRegex(UserError, "at most 2 bit-widths.*3"):
            schedules.cpt_schedule(
                PLANS[0], total=8, cycles=4, pattern=(8, 4, 2)
            )


class SwitchTest(TestCase):
    def test_cyclic_takes_turns(self):
        plan_at = schedules.switch_schedule(PLANS, interval=2, total=12)
        self.assertEqual(names(plan_at, range(8)), list("44882244"))

    def test_progressive_goes_from_most_bits_to_fewest_once(self):
        plan_at = schedules.switch_schedule(
            PLANS, strategy="progressive", interval=1, total=6
        )
        self.assertEqual(names(plan_at, range(8)), list("88442222"))

    def test_scheduled_repeats_the_pattern(self):
        plan_at = schedules.switch_schedule(
            PLANS, strategy="scheduled", interval=1, total=9, pattern=(8, 6, 2)
        )
        self.assertEqual(names(plan_at, range(4)), list("8628"))
        self.assertEqual(plan_at(1).bits, (6,) * 8 + (8,))

    def test_random_repeats_with_the_seed_and_meets_every_plan(self):
        def draw(seed):
            plan_at = schedules.switch_schedule(
                PLANS, strategy="random", interval=1, total=60, seed=seed
            )
            return names(plan_at, range(60))

        self.assertEqual(draw(1), draw(1))
        self.assertNotEqual(draw(1), draw(2))
        self.assertEqual(set(draw(1)), {"2", "4", "8"})

    @parameterized.parameters(
        ({"strategy": "cyclik"}, "Did you mean `cyclic`"),
        ({"interval": 0}, "`switch_interval`.*0"),
        ({"strategy": "scheduled"}, "`pattern`"),
        ({"strategy": "scheduled", "pattern": (1,)}, "bits=1"),
        ({"plans": []}, "`plans`"),
    )
    def test_bad_arguments_are_named(self, arguments, pattern):
        with self.assertRaisesRegex(UserError, pattern):
            schedules.switch_schedule(
                **{"plans": PLANS, "total": 8, **arguments}
            )


class RandomPrecisionTest(TestCase):
    def test_every_group_draws_its_own_width_and_repeats(self):
        plan_at = schedules.random_schedule(PLANS[1], (8, 4, 2), seed=3)
        again = schedules.random_schedule(PLANS[1], (8, 4, 2), seed=3)
        drawn = [plan_at(step).bits for step in range(40)]
        self.assertEqual(drawn, [again(step).bits for step in range(40)])
        self.assertEqual({b for row in drawn for b in row[:8]}, {2, 4, 8})
        self.assertEqual({row[8] for row in drawn}, {8})
        self.assertGreater(len(set(drawn)), 35)
