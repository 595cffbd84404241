from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.exit_spec import CONFIDENCES
from tfshrink.exit_spec import ExitSpec
from tfshrink.exit_spec import PRESETS
from tfshrink.ops import confidence


class ExitSpecTest(TestCase):
    @parameterized.parameters(
        ("margin:0.8", {"confidence": "margin", "thresholds": (0.8,)}),
        (
            "max:0.8,0.9:layers=10,18",
            {
                "confidence": "max",
                "thresholds": (0.8, 0.9),
                "layers": (10, 18),
            },
        ),
        (
            "classifier:0.5:missing=verify:pending=4",
            {"thresholds": (0.5,), "missing": "verify", "pending": 4},
        ),
        (
            "entropy:0.5:schedule=dynamic:target=0.3",
            {
                "confidence": "entropy",
                "thresholds": (0.5,),
                "schedule": "dynamic",
                "target": 0.3,
            },
        ),
    )
    def test_text_and_json_give_the_same_spec(self, text, fields):
        spec = ExitSpec.parse(text)
        self.assertEqual(spec, ExitSpec(**fields))
        self.assertEqual(str(spec), text)
        self.assertEqual(ExitSpec.from_json(spec.to_json()), spec)

    @parameterized.parameters(
        ("margn:.8", "Did you mean `margin`"),
        ("margin:1.2", r"threshold must lie in 0\.\.1. Received: 1.2"),
        ("margin:nan", r"threshold must lie in 0\.\.1. Received: nan"),
        ("margin:x", "Received: 'x'"),
        ("margin:.8:layer=3", "Received: 'layer=3'"),
        ("margin:.8:layers=0", "counted from 1. Received: 0"),
        ("margin:.8:layers=9,3", "layers must rise. Received: 9,3"),
        ("margin:.8,.9:layers=3", "its 1 layers. Received: 2"),
        ("margin:.8:pending=0", "pending must be an integer.*Received: 0"),
        ("margin:.8:target=.3", "schedule=dynamic.*schedule=fixed"),
        ("margin:.8:schedule=dynamic", "must have a target"),
        ("margin:.8:rate=-1", "rate must be at least 0. Received: -1"),
        ("margin:.8:head=small", "exit head.*full.*light"),
        ("margin:.8:head=light:missing=verify", "needs head=full"),
    )
    def test_wrong_text_is_named(self, text, message):
        with self.assertRaisesRegex(UserError, message):
            ExitSpec.parse(text)

    @parameterized.parameters(*PRESETS)
    def test_presets_are_policies(self, name):
        spec = ExitSpec.parse(name)
        self.assertEqual(spec, ExitSpec.parse(PRESETS[name][0]))
        self.assertEqual(ExitSpec.parse(str(spec)), spec)

    def test_presets_have_the_values_of_toex(self):
        self.assertEqual(str(ExitSpec.parse("toex")), "margin:0.5")
        ultra = ExitSpec.parse("ultra:pending=4")
        self.assertEqual(ultra.thresholds, (0.15,))
        self.assertEqual(ultra.margin, 0.12)
        self.assertEqual(ultra.schedule, "dynamic")
        self.assertEqual(ultra.pending, 4)

    @parameterized.parameters(
        ("ulta", "Did you mean `ultra`"),
        ("conservativ:pending=4", "Did you mean `conservative`"),
        ("policy:.5", "weights=FILE with policy.*Received: policy"),
        ("margin:.5:weights=a.json", "only then. Received: margin"),
    )
    def test_wrong_names_are_named(self, text, message):
        with self.assertRaisesRegex(UserError, message):
            ExitSpec.parse(text)

    def test_a_learned_policy_names_its_file(self):
        text = "policy:0.5:weights=out/policy.json"
        self.assertEqual(str(ExitSpec.parse(text)), text)

    def test_layers_must_be_among_the_exits(self):
        spec = ExitSpec.parse("margin:.8,.9:layers=6,18")
        self.assertEqual(spec.thresholds_of((6, 12, 18)), (0.8, 1.0, 0.9))
        with self.assertRaisesRegex(UserError, "behind: 6,12. Received: 18"):
            spec.layers_of((6, 12))
        with self.assertRaisesRegex(UserError, "2 exits. Received: 3"):
            ExitSpec.parse("margin:.8,.9,.7").layers_of((6, 12))

    def test_every_confidence_has_a_formula(self):
        self.assertEqual(CONFIDENCES, confidence.CONFIDENCES)
