import json
import pathlib

import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.exit_spec import ExitSpec
from tfshrink.layer_groups import group_names
from tfshrink.plan import parse_plans
from tfshrink.plan import Plan
from tfshrink.plan_checks import check_bits


class ParseTest(TestCase):
    @parameterized.parameters(
        ("8", (8,) * 8 + (8,)),
        ("4", (4,) * 8 + (8,)),
        ("16", (16,) * 8 + (16,)),
        ("32", (32,) * 8 + (32,)),
        ("stripe-8-4", (4, 8) * 4 + (8,)),
        ("stripe-4-8", (4, 8) * 4 + (8,)),
        ("8,8,4,4,2,2,16,3", (8, 8, 4, 4, 2, 2, 16, 3, 8)),
        (" 8, 8,4,4,2,2,16,3 ", (8, 8, 4, 4, 2, 2, 16, 3, 8)),
        ("8,8,4,4,2,2,16,3,6", (8, 8, 4, 4, 2, 2, 16, 3, 6)),
    )
    def test_text_gives_the_bits(self, text, bits):
        self.assertEqual(Plan.parse(text, layers=2).bits, bits)

    def test_untied_head_is_a_group_of_its_own(self):
        plan = Plan.parse("4", layers=1, tied=False)
        self.assertEqual(plan.bits, (4, 4, 4, 4, 8, 8))
        self.assertEqual(plan.names[-2:], ("embedding", "head"))
        named = Plan.parse("4,4,4,4,8,16", layers=1, tied=False)
        self.assertEqual(named.bits, (4, 4, 4, 4, 8, 16))

    def test_gpt2_has_the_seeds_48_block_groups(self):
        names = group_names(12)
        self.assertLen(names, 49)
        self.assertEqual(names[0], "block_00/attention_in")
        self.assertEqual(names[47], "block_11/mlp_out")
        self.assertEqual(group_names(100)[4], "block_001/attention_in")

    def test_several_plans_are_read_in_order(self):
        plans = parse_plans("8;4  stripe-8-4", layers=1, group=32)
        self.assertEqual([p.name for p in plans], ["8", "4", "stripe-8-4"])
        self.assertEqual({p.group for p in plans}, {32})
        with self.assertRaisesRegex(UserError, "at least one plan"):
            parse_plans(" ; ", layers=1)

    @parameterized.parameters(
        ("1", "bits=1"),
        ("9", "bits=9"),
        ("12", "bits=12"),
        ("stripe-8-9", "bits=9"),
        ("8,8,8", "must have 8 bit-widths.*Received: 3"),
        ("8,8,8,8,8,8,8,8,8,8", "must have 8 bit-widths.*Received: 10"),
        ("", "must be an integer"),
        ("-8", "must be an integer.*'-8'"),
        ("8.5", "must be an integer.*'8.5'"),
        ("int8", "must be an integer.*'int8'"),
        ("stripe-8", "pattern such as stripe-8-4"),
        ("8,,4", "must be an integer"),
        ("nowhere.json", "readable JSON file.*nowhere.json"),
    )
    def test_bad_text_is_named(self, text, pattern):
        with self.assertRaisesRegex(UserError, pattern):
            Plan.parse(text, layers=2)


class ValidationTest(TestCase):
    def test_wrong_number_of_groups(self):
        with self.assertRaisesRegex(UserError, "9 layer groups.*Received: 8"):
            Plan(bits=(8,) * 8, layers=2)

    @parameterized.parameters(1, 9, 0, -4, 10, 17, 8.0, "8", None, True)
    def test_bits_that_no_grid_has(self, bits):
        with self.assertRaisesRegex(UserError, "block_00/attention_in"):
            Plan(bits=(bits, 8, 8, 8, 8), layers=1)
        with self.assertRaisesRegex(UserError, "`low` must be between 2 and 8"):
            check_bits(bits, "low")

    @parameterized.parameters(
        ({"group": 48}, "`group`.*48"),
        ({"group": "64"}, "`group`.*64"),
        ({"activations": 4}, "`activations`.*4"),
        ({"pruning": (0.5,)}, "`pruning` must have 5 entries.*Received: 1"),
        ({"pruning": (0, 0, 1.0, 0, 0)}, "mlp_in must be in .0, 1.*1.0"),
        ({"pruning": (0, 0, -0.1, 0, 0)}, "mlp_in must be in"),
        ({"pruning": (0, 0, float("nan"), 0, 0)}, "mlp_in must be in"),
        ({"pruning": (0, 0, "half", 0, 0)}, "mlp_in must be in.*'half'"),
        ({"pruning": 0.5}, "`pruning` must hold one number a layer group"),
        ({"bits": (8, 8, 8, 2, 8), "pruning": (0, 0, 0, 0.5, 0)}, "no zero"),
        ({"bits": 8}, "`bits` must hold one number a layer group"),
        ({"layers": 0}, "`layers`.*0"),
        ({"layers": "1"}, "`layers`.*'1'"),
        ({"tied": "no"}, "`tied`.*'no'"),
        ({"kv": "dct"}, "`kv`.*'dct'"),
        ({"exit": 3}, "`exit`.*3"),
    )
    def test_every_other_bad_field_is_named(self, fields, pattern):
        with self.assertRaisesRegex(UserError, pattern):
            Plan(**{"bits": (8,) * 5, "layers": 1, **fields})


class LayerPrecisionTest(TestCase):
    def test_rows_become_a_plan_and_back(self):
        rows = [
            {"attn_bits": 8, "mlp_bits": 4},
            {"attn_bits": 2, "mlp_bits": 16},
        ]
        plan = Plan.from_layer_precision(rows)
        self.assertEqual(plan.bits, (8, 8, 4, 4, 2, 2, 16, 16, 8))
        self.assertEqual(plan.layer_precision(), rows)

    @parameterized.parameters(tuple, list)
    def test_halves_that_differ_are_pairs(self, kind):
        plan = Plan.parse("8,4,3,2", layers=1)
        rows = plan.layer_precision()
        self.assertEqual(rows, [{"attn_bits": (8, 4), "mlp_bits": (3, 2)}])
        rows = [{key: kind(pair) for key, pair in rows[0].items()}]
        again = Plan.from_layer_precision(rows, name=plan.name)
        self.assertEqual(again, plan)

    @parameterized.parameters(
        ([{"attn_bits": 8}], "attn_bits and mlp_bits"),
        ([{"attn_bits": 8, "mlp": 8}], "attn_bits and mlp_bits"),
        ([8], "attn_bits and mlp_bits"),
        ([{"attn_bits": 9, "mlp_bits": 8}], "bits=9"),
        ([{"attn_bits": "8", "mlp_bits": 8}], "bits='8'"),
        ([{"attn_bits": (8, 8, 8), "mlp_bits": 8}], "`attn_bits`.*8, 8, 8"),
        ([], "`plan` must have|`layers`"),
    )
    def test_bad_rows_are_named(self, rows, pattern):
        with self.assertRaisesRegex(UserError, pattern):
            Plan.from_layer_precision(rows)


class JsonTest(TestCase):
    def setUp(self):
        super().setUp()
        self.path = pathlib.Path(self.create_tempdir().full_path) / "plan.json"
        self.plan = Plan(
            bits=(8, 4, 3, 16, 6),
            layers=1,
            group=32,
            pruning=(0.5, 0.0, 0.25, 0.0, 0.0),
            activations=8,
            kv={"codec": "pca", "rate": 4.0},
            name="mine",
        )

    def test_file_reads_back_as_the_same_plan(self):
        self.plan.save(self.path)
        self.assertEqual(Plan.load(self.path), self.plan)
        parsed = Plan.parse(str(self.path), layers=1)
        self.assertEqual(parsed, self.plan)
        self.assertEqual(parsed.hash, self.plan.hash)

    def test_what_is_removed_comes_back(self):
        plan = Plan.parse("4:heads=.5:channels=.25", layers=2)
        self.assertEqual(plan.name, "4:heads=.5:channels=.25")
        self.assertEqual(plan.heads, (0.5, 0.5))
        self.assertEqual(plan.channels, (0.25, 0.25))
        values = json.loads(json.dumps(plan.to_json()))
        self.assertEqual(values["heads"], {"block_00": 0.5, "block_01": 0.5})
        self.assertEqual(Plan.from_json(values), plan)
        self.assertNotEqual(plan.hash, Plan.parse("4", layers=2).hash)

    @parameterized.parameters(
        ("4:depth=.5", "heads=FRACTION, channels=FRACTION"),
        ("4:embedding=4.5", "embedding=BITS"),
        ("4:embedding=9", "between 2 and 8"),
        ("4:head=4", "whose head is its embedding"),
        ("4:heads", "heads=FRACTION"),
        ("4:heads=x", "heads=FRACTION"),
        ("4:heads=1", r"`heads` of block 0 must be in \[0, 1\)"),
        ("4:channels=-.1", r"`channels` of block 0 must be in \[0, 1\)"),
    )
    def test_what_cannot_be_removed_is_named(self, text, message):
        with self.assertRaisesRegex(UserError, message):
            Plan.parse(text, layers=2)

    def test_what_is_outside_of_blocks_has_bits_of_its_own(self):
        plan = Plan.parse("4:embedding=3:head=6", layers=1, tied=False)
        self.assertEqual(plan.bits, (4, 4, 4, 4, 3, 6))
        self.assertEqual(Plan.parse("8:embedding=4", layers=1).bits[-1], 4)

    def test_removed_parts_are_one_number_a_block(self):
        for levels in ((0.5,), "half", (0.5, 0.5, 0.5)):
            with self.assertRaisesRegex(UserError, "`heads` must"):
                Plan.parse("4", layers=2, heads=levels)

    def test_pruning_of_single_weights_in_short(self):
        plan = Plan.parse("4:pruning=.3", layers=2)
        self.assertEqual(plan.pruning, (0.3,) * 8 + (0.0,))
        self.assertEqual(plan.sparsity, "unstructured")
        plan = Plan.parse("8:pruning=2of4", layers=2, tied=False)
        self.assertEqual(plan.pruning, (0.5,) * 8 + (0.0,) * 2)
        self.assertEqual(plan.sparsity, "2:4")
        self.assertEqual(Plan.from_json(plan.to_json()), plan)
        self.assertNotEqual(
            plan.hash, Plan.parse("8:pruning=.5", layers=2, tied=False).hash
        )
        # Where nothing is pruned, no pattern tells plans apart.
        plain = Plan.parse("8", layers=2)
        self.assertEqual(Plan.parse("8", layers=2, sparsity="2:4"), plain)

    @parameterized.parameters(
        ("4:pruning=2of5", "pruning=FRACTION"),
        ("2:pruning=.3", "no zero"),
        ("4:pruning=1", "must be in"),
    )
    def test_wrong_pruning_says_so(self, text, message):
        with self.assertRaisesRegex(UserError, message):
            Plan.parse(text, layers=2)

    def test_patterns_and_places_of_pruning(self):
        with self.assertRaisesRegex(UserError, "Did you mean `2:4`"):
            Plan.parse("4", layers=1, sparsity="2of4")
        levels = (0.25, 0.0, 0.0, 0.0, 0.0)
        with self.assertRaisesRegex(UserError, "must be 0 or .5"):
            Plan.parse("4", layers=1, pruning=levels, sparsity="2:4")
        with self.assertRaisesRegex(UserError, "rows of it are looked up"):
            Plan.parse("4", layers=1, pruning=(0.0,) * 4 + (0.5,))

    def test_hash_is_the_same_on_every_machine(self):
        self.assertEqual(Plan.parse("stripe-8-4", layers=2).hash, STRIPE_HASH)

    def test_hash_tells_plans_apart_but_not_their_names(self):
        names = [Plan.parse("8", layers=1, name=n).hash for n in "ab"]
        self.assertEqual(*names)
        plans = [
            Plan.parse("8", layers=1),
            Plan.parse("8", layers=2),
            Plan.parse("4", layers=1),
            Plan.parse("8", layers=1, tied=False),
            Plan.parse("8", layers=1, group=32),
            Plan.parse("8", layers=1, activations=8),
            Plan.parse("8", layers=1, kv={"codec": "int8"}),
            Plan.parse("8", layers=1, exit={}),
            Plan.parse("8", layers=1, pruning=(0.5, 0, 0, 0, 0)),
        ]
        self.assertLen({plan.hash for plan in plans}, len(plans))

    def test_equal_plans_are_equal_however_they_were_written(self):
        plain = Plan(bits=(8,) * 5, layers=1)
        same = Plan(
            bits=list(np.full(5, 8)), layers=1, pruning=[0, 0.0, 0, 0, 0]
        )
        self.assertEqual(plain, same)
        self.assertEqual(plain.hash, same.hash)
        self.assertEqual(Plan.from_json(same.to_json()), plain)

    def test_exit_policy_is_text_or_its_fields(self):
        text = "margin:.8:layers=1,2"
        plan = Plan.parse("8", layers=3, exit=text)
        spec = ExitSpec.parse(text)
        self.assertEqual(plan.exit, spec.to_json())
        same = Plan.parse("8", layers=3, exit=spec.to_json())
        self.assertEqual(plan.hash, same.hash)
        plan.save(self.path)
        self.assertEqual(Plan.load(self.path), plan)
        values = {**plan.to_json(), "exit": "margin:.8:layers=1,2"}
        self.assertEqual(Plan.from_json(values), plan)
        with self.assertRaisesRegex(UserError, "Did you mean `margin`"):
            Plan.parse("8", layers=3, exit="marg:.8")

    def test_plan_for_another_model(self):
        self.plan.save(self.path)
        with self.assertRaisesRegex(
            UserError, "plan.json is for 5 layer groups, the model has 9"
        ):
            Plan.parse(str(self.path), layers=2)

    def test_truncated_file_is_named(self):
        self.plan.save(self.path)
        text = self.path.read_text("utf-8")
        self.path.write_text(text[: len(text) // 2], "utf-8")
        with self.assertRaisesRegex(UserError, "readable JSON.*plan.json"):
            Plan.load(self.path)
        self.path.write_bytes(b"\xff\xfe\x00binary")
        with self.assertRaisesRegex(UserError, "readable JSON.*plan.json"):
            Plan.load(self.path)

    @parameterized.parameters(
        ({"bits": [8, 8]}, "`plan.json`"),
        ({"bits": 8}, "`plan.json`"),
        ({"bits": None}, "`plan.json`"),
        ({"layers": "two"}, "`plan.json`"),
        ({"layers": None}, "`plan.json`"),
        ({"pruning": ["embedding"]}, "`plan.json`"),
        ({"version": 2}, "`plan.json`.*version 2"),
        ({"bit": 3}, "`plan.json`.*no other field. Wrong: bit"),
        ({"layers": 2}, "`plan.json`.*Wrong: block_01/attention_in"),
        ({"pruning": {"block_09/mlp_in": 0.5}}, "Wrong: block_09/mlp_in"),
        ({"pruning": {"embedding": 2}}, "`pruning` of embedding.*2"),
    )
    def test_corrupt_content_is_named(self, changes, pattern):
        values = {**self.plan.to_json(), **changes}
        self.path.write_text(json.dumps(values), "utf-8")
        with self.assertRaisesRegex(UserError, pattern):
            Plan.from_json(json.loads(self.path.read_text()), "plan.json")

    def test_bits_of_a_file_are_checked_by_group(self):
        values = self.plan.to_json()
        values["bits"]["block_00/mlp_in"] = 9
        with self.assertRaisesRegex(UserError, "block_00/mlp_in.*bits=9"):
            Plan.from_json(values)
        del values["bits"]["block_00/mlp_in"]
        with self.assertRaisesRegex(UserError, "Wrong: block_00/mlp_in"):
            Plan.from_json(values)

    @parameterized.parameters("[]", "3", "null", '"8"', "{}", "[1, 2]")
    def test_json_that_is_no_plan(self, text):
        self.path.write_text(text, "utf-8")
        with self.assertRaisesRegex(UserError, "plan.json. must be the JSON"):
            Plan.load(self.path)


STRIPE_HASH = "8a5e41b26b39aa9e"
