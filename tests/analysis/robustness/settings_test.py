import json

from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.analysis.robustness.condition import Condition
from tfshrink.analysis.robustness.settings import RobustnessSettings
from tfshrink.errors import UserError


class RobustnessSettingsTest(TestCase):
    @parameterized.parameters(
        ({"epsilon": (0.1, -0.1)}, "`epsilon` .* at least 0. Received: -0.1"),
        ({"epsilon": float("nan")}, "`epsilon` .* Received: nan"),
        ({"steps": 0}, "`steps` must be at least 1. Received: 0"),
        ({"alpha": 0.0}, "`alpha` must be above 0. Received: 0.0"),
        ({"weight_noise": -1}, "`weight_noise` .* Received: -1"),
        ({"token_dropout": 1.5}, "`token_dropout` .* most 1. Received: 1.5"),
        ({"token_substitution": -0.5}, "`token_substitution` .*: -0.5"),
        ({"quantization_bits": 1}, "`quantization_bits` .* Received: 1"),
        ({"quantization_bits": (4, 16)}, "at most 8. Received: 16"),
        ({"attacks": ("fgms",)}, "Received: 'fgms'. Did you mean `fgsm`?"),
        ({"noises": ("weight_nose",)}, "Did you mean `weight_noise`?"),
        ({"random_precision": "rows"}, "Did you mean `row`?"),
        ({"dtype": "float16"}, "`dtype` must be one of bfloat16, float32"),
        ({"attacker_samples": 0}, "`attacker_samples` .* Received: 0"),
        ({"limit": 1}, "`limit` must be at least 2. Received: 1"),
        ({"confidence": 1.0}, "`confidence` .* Received: 1.0"),
        ({"resamples": 5}, "`resamples` must be at least 99. Received: 5"),
    )
    def test_bad_input_is_one_error(self, changes, message):
        with self.assertRaisesRegex(UserError, message.replace("?", r"\?")):
            RobustnessSettings(**changes)

    def test_each_strength_is_a_condition(self):
        settings = RobustnessSettings(
            attacks="pgd", noises=["token_dropout"], epsilon=[0.1, 0.2]
        )
        self.assertEqual(
            settings.attack_conditions,
            [Condition("pgd", 0.1), Condition("pgd", 0.2)],
        )
        self.assertEqual(
            settings.noise_conditions, [Condition("token_dropout", 0.1)]
        )
        self.assertEqual(
            json.loads(json.dumps(settings.to_json()))["epsilon"], [0.1, 0.2]
        )

    def test_step_of_pgd(self):
        settings = RobustnessSettings(steps=5)
        self.assertAllClose(settings.step_length(0.04), 0.02)
        settings = RobustnessSettings(steps=5, alpha=0.01)
        self.assertEqual(settings.step_length(0.04), 0.01)

    @parameterized.parameters(
        ("auto", 1, None),
        ("auto", 2, "row"),
        ("batch", 2, "batch"),
        ("none", 2, None),
    )
    def test_what_draws_a_plan(self, random_precision, plans, every):
        settings = RobustnessSettings(random_precision=random_precision)
        self.assertEqual(settings.draws_every(plans), every)


class ConditionTest(TestCase):
    def test_what_is_drawn_depends_on_what_is_named_alone(self):
        def draw(kind, strength, *where, seed=0):
            random = Condition(kind, strength).random(seed, *where)
            return random.random(4).tolist()

        first = draw("pgd", 0.1, "window", 3)
        others = [
            draw("fgsm", 0.1, "window", 3),
            draw("pgd", 0.2, "window", 3),
            draw("pgd", 0.1, "matrix", 3),
            draw("pgd", 0.1, "window", 4),
            draw("pgd", 0.1, "window", 3, seed=1),
        ]
        self.assertEqual(draw("pgd", 0.1, "window", 3), first)
        self.assertNotIn(first, others)
