import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.deploy import exit_rule
from tfshrink.exit_spec import ExitSpec
from tfshrink.ops import confidence

LOGITS = (
    [2.0, 1.0, 0.5, -3.0],
    [9.0, -1.0, -1.0, -1.0],
    [1.0, 1.0, 1.0, 1.0],
)


class ConfidenceTest(TestCase):
    @parameterized.parameters(*exit_rule.OF_LOGITS)
    def test_equals_the_tensors_own(self, name):
        for logits in np.array(LOGITS, "float32"):
            wanted = to_numpy(confidence.OF_LOGITS[name](logits))
            found = exit_rule.OF_LOGITS[name](logits)
            self.assertAllClose(found, wanted, atol=1e-6)

    def test_every_confidence_of_logits_is_there(self):
        self.assertEqual(set(exit_rule.OF_LOGITS), set(confidence.OF_LOGITS))

    def test_cosine_equals_the_tensors_own(self):
        states = np.random.default_rng(0).normal(size=(2, 8)).astype("float32")
        for state, earlier in (states, -states, (states[0], -states[0])):
            wanted = to_numpy(confidence.state_cosine(state, earlier))
            found = exit_rule.state_cosine(state, earlier)
            self.assertAllClose(found, wanted, atol=1e-6)

    def test_classifier_is_a_probability(self):
        self.assertEqual(exit_rule.classifier(0.0), 0.5)
        self.assertEqual(exit_rule.classifier(-1e6) > 0, True)
        self.assertAllClose(exit_rule.classifier(2.0), 1 / (1 + np.exp(-2)))


def rule(text, exits=2):
    return exit_rule.ExitRule(ExitSpec.parse(text), exits)


class ExitRuleTest(TestCase):
    def test_a_threshold_each_or_one_for_all(self):
        one, two = rule("max:.4"), rule("max:.4,.8")
        self.assertEqual([one.limit(0), one.limit(1)], [0.4, 0.4])
        self.assertEqual([two.limit(0), two.limit(1)], [0.4, 0.8])

    def test_confidence_must_exceed_the_threshold(self):
        own = rule("max:.4")
        self.assertFalse(own.leaves(0, 0.4))
        self.assertTrue(own.leaves(0, 0.41))

    def test_nothing_leaves_at_one(self):
        own = rule("max:1,.5:schedule=dynamic:target=1")
        for _ in range(100):
            own.made(False)
        self.assertFalse(own.leaves(0, 1.0))
        self.assertTrue(own.leaves(1, 0.01))

    def test_margin_counts_beside_the_confidence(self):
        own = rule("classifier:.5:margin=.2")
        self.assertTrue(own.reads_logits)
        self.assertFalse(own.leaves(0, 0.9, 0.19))
        self.assertTrue(own.leaves(0, 0.9, 0.2))

    def test_decay_equals_the_tensors_own(self):
        own = rule("max:.8:schedule=decay:floor=.5:rate=2")
        own.begin(10)
        for step in range(10):
            wanted = confidence.decayed(0.8, step / 10, floor=0.5, rate=2.0)
            self.assertAllClose(own.limit(0), to_numpy(wanted))
            own.made(False)

    def test_a_target_moves_the_threshold_both_ways(self):
        own = rule("max:.5:schedule=dynamic:target=.5")
        own.made(True)
        self.assertAllClose(own.limit(0), 0.525)
        own.made(False)
        own.made(False)
        self.assertAllClose(own.limit(0), 0.475)
        own.begin(8)
        self.assertAllClose(own.limit(0), 0.5)
