import dataclasses
import json

from absl.testing import parameterized

from tests.test_case import TestCase
from tests.training import tiny
from tfshrink.errors import UserError
from tfshrink.kv_spec import KVSpec
from tfshrink.models.sources.tiny import TinySource
from tfshrink.training.settings import TrainSettings
from tfshrink.training.train import structure

CONFIG = TinySource("tiny").config


class SettingsTest(TestCase):
    @parameterized.parameters(
        ({"style": "spent"}, "Did you mean `spnet`"),
        ({"init": "gtpq"}, "Did you mean `gptq`"),
        ({"train": "adapters,scale"}, "Did you mean `scales`"),
        ({"dtype": "float16"}, "Did you mean `bfloat16`"),
        ({"switch_strategy": "randm"}, "Did you mean `random`"),
        ({"total_steps": 0}, "`total_steps` must be at least 1"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"context": 1}, "`context` must be at least 2"),
        ({"switch_interval": 0}, "`switch_interval` must be at least 1"),
        ({"init_rows": 0}, "`init_rows` must be at least 1"),
        ({"static_steps": 120}, "`static_steps` must be below"),
        ({"init": "gptq", "bank": "none"}, "needs `bank=codes`"),
        ({"smooth": 1.5}, "`smooth` must lie in 0..1"),
        ({"smooth": 0.5, "init": "awq"}, "`smooth` goes before"),
    )
    def test_a_mistake_is_named(self, values, message):
        with self.assertRaisesRegex(UserError, message):
            TrainSettings(**values)

    def test_settings_survive_json(self):
        settings = tiny.settings(limit=None)
        values = json.loads(json.dumps(settings.to_json()))
        self.assertEqual(TrainSettings(**values), settings)


class StructureTest(TestCase):
    def test_widths_are_those_of_the_plans(self):
        precision, plans = structure(
            tiny.settings(plan="stripe-8-4;2", ranks="", bank="codes"), CONFIG
        )
        self.assertEqual(precision.widths, (8, 4, 2))
        self.assertEqual(precision.ranks, (16, 32, 64))
        self.assertEqual(precision.banked, (4, 2))  # 8 bits just round
        self.assertEqual([plan.name for plan in plans], ["stripe-8-4", "2"])

    def test_codes_make_up_for_what_plans_remove(self):
        values = {"bank": "codes", "init": "gptq", "ranks": "0"}
        for text, wanted in (("8;4", (4,)), ("8:heads=.5;4", (8, 4))):
            settings = tiny.settings(**values, plan=text)
            self.assertEqual(structure(settings, CONFIG)[0].banked, wanted)

    def test_cpt_trains_every_width_or_its_pattern(self):
        settings = tiny.settings(style="cpt", ranks="")
        self.assertEqual(
            structure(settings, CONFIG)[0].widths, (8, 7, 6, 5, 4, 3, 2)
        )
        settings = tiny.settings(
            style="cpt",
            plan="8",
            ranks="",
            bit_pattern="8,3,8",
            cycles=1,
        )
        self.assertEqual(structure(settings, CONFIG)[0].widths, (8, 3))

    def test_plans_have_the_codec_that_is_trained_with(self):
        settings = tiny.settings(kv="dct:2x:block=8:window=8", context=64)
        _, plans = structure(settings, CONFIG)
        for plan in plans:
            self.assertEqual(plan.kv["codec"], "dct")
            self.assertEqual(plan.kv["length"], CONFIG.context)
        settings = tiny.settings(kv="dct:2x:length=400", context=256)
        _, plans = structure(settings, CONFIG)
        self.assertEqual(plans[0].kv["length"], 400)

    def test_no_adapters(self):
        precision, _ = structure(tiny.settings(ranks="0"), CONFIG)
        self.assertEqual(precision.ranks, ())

    @parameterized.parameters(
        ({"plan": "9"}, "between 2 and 8"),
        ({"plan": "1"}, "between 2 and 8"),
        ({"plan": "8,4"}, "must have 8 bit-widths"),
        ({"plan": "eight"}, "must be an integer"),
        ({"plan": "16", "ranks": ""}, "at least one bit-width below 16"),
        ({"bit_pattern": "8,x"}, "`bit_pattern` must be bit-widths"),
        (
            {"style": "cpt", "bit_pattern": "8,4,2", "cycles": 2},
            "`bit_pattern` must have at most 2 bit-widths",
        ),
        ({"ranks": "a"}, "`ranks` must be integers"),
        ({"ranks": "4"}, "one rank per trained width"),
        ({"group": 48}, "`group` must be one of"),
        ({"group": 128}, "`group` must divide the 64 inputs of attention_in"),
        ({"placement": "inside", "bank": "codes"}, "`bank` must be 'none'"),
        ({"kv": "dtc:4x"}, "Did you mean `dct`"),
        ({"kv": "int4", "context": 128}, "must be more than 128 tokens"),
        ({"kv": "int4", "context": 32}, "block must be at most"),
        ({"kv": "dct:90x", "context": 256}, "rate of dct must be at most"),
        (
            {"kv": "pca:2x", "context": 256, "plan": "8:heads=.5"},
            "must not be pca where heads may go",
        ),
    )
    def test_a_mistake_is_named(self, values, message):
        with self.assertRaisesRegex(UserError, message):
            structure(tiny.settings(**values), CONFIG)

    def test_a_plan_file_must_fit_the_group(self):
        path = self.create_tempdir().full_path + "/plan.json"
        [plan] = tiny.plans("4")
        plan.save(path)
        values = {"plan": path, "ranks": ""}
        structure(tiny.settings(**values), CONFIG)
        with self.assertRaisesRegex(UserError, r"--group=32\."):
            structure(tiny.settings(**values, group=64), CONFIG)

    def test_plans_must_have_one_codec(self):
        path = self.create_tempdir().full_path + "/plan.json"
        [plan] = tiny.plans("4")
        kv = KVSpec.parse("int4:block=8:window=0").to_json()
        dataclasses.replace(plan, kv=kv).save(path)
        values = {"ranks": "", "plan": path}
        self.assertEqual(
            structure(tiny.settings(**values), CONFIG)[1][0].kv, kv
        )
        values["plan"] += ";8"
        with self.assertRaisesRegex(
            UserError, "int4:block=8:.* and 8 with none"
        ):
            structure(tiny.settings(**values), CONFIG)

    def test_a_corrupt_plan_file_is_named(self):
        path = self.create_tempdir().full_path + "/plan.json"
        for text in ("", "{", "[]", '{"version": 1, "bits": 3}'):
            with open(path, "w") as file:
                file.write(text)
            with self.assertRaisesRegex(UserError, "plan.json"):
                structure(tiny.settings(plan=path), CONFIG)
