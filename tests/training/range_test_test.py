from unittest import mock

from tests.test_case import TestCase
from tests.training import tiny
from tfshrink.training.range_test import range_test
from tfshrink.training.range_test import smoothed_gain


class FakeTrainer:
    """Losses fall by a tenth a step from 4 bits on, and not below."""

    def __init__(self):
        self.style = "own"
        self.events = []
        self.loss = 8.0

    def snapshot(self):
        return self.loss

    def restore(self, loss):
        self.events.append("restored")
        self.loss = loss

    def step(self, step, batch_at):
        [[term]] = self.style(step)
        bits = term.plan.bits[0]
        self.events.append(bits)
        if bits >= 4:
            self.loss *= 0.9
        return {"loss": self.loss}


class RangeTestTest(TestCase):
    def test_gain_matches_a_table_worked_by_hand(self):
        # Running mean of 4, 2, 2: 4, 3, 2.5: a gain of 1.5 of 4.
        self.assertAllClose(smoothed_gain([4.0, 2.0, 2.0]), 0.375)
        self.assertEqual(smoothed_gain([3.0]), 0.0)

    def test_bits_rise_until_the_loss_falls(self):
        trainer = FakeTrainer()
        [plan] = tiny.plans("8")
        found = range_test(
            trainer, mock.ANY, plan, (8, 7, 6, 5, 4, 3, 2), steps=3
        )
        self.assertEqual(found["low"], 4)
        self.assertEqual([t["bits"] for t in found["tests"]], [2, 3, 4])
        self.assertEqual(found["tests"][0]["gain"], 0.0)
        self.assertEqual((trainer.loss, trainer.style), (8.0, "own"))
        self.assertEqual(trainer.events[:4], ["restored", 2, 2, 2])

    def test_the_highest_width_is_the_last_resort(self):
        trainer = FakeTrainer()
        [plan] = tiny.plans("8")
        found = range_test(trainer, mock.ANY, plan, (3, 2), steps=2)
        self.assertEqual(found["low"], 3)
