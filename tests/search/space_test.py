import numpy as np

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.exit_spec import ExitSpec
from tfshrink.kv_spec import KVSpec
from tfshrink.models.sources import open_source
from tfshrink.search.sensitivity import Sensitivity
from tfshrink.search.space import FRACTIONS
from tfshrink.search.space import SearchSpace

CONFIG = open_source("tiny").config  # two blocks, a tied head


def space(**options):
    return SearchSpace(CONFIG, (8, 4, 3), (8, 4), **options)


class SearchSpaceTest(TestCase):
    def test_points_are_bits_of_groups(self):
        own = space()
        self.assertLen(own, 9)
        self.assertEqual(own.fields(own.start), ([8] * 9, {}))
        bits, _ = own.fields((0, 1, 2, 0, 0, 0, 0, 0, 1))
        self.assertEqual(bits, [8, 4, 3, 8, 8, 8, 8, 8, 4])

    def test_levels_end_where_the_options_do(self):
        own = space()
        self.assertEqual(own.moved(own.start, 1), (0, 1, *(0,) * 7))
        self.assertIsNone(own.moved(own.start, 1, -1))
        self.assertIsNone(own.moved((0,) * 8 + (1,), 8))

    def test_pruning_and_structure_are_variables_too(self):
        own = space(pruning=(0.25, 0.5), structured=True)
        self.assertLen(own, 9 + 8 + 2 * 2)
        point = (0,) * 9 + (1,) + (0,) * 7 + (0, 2) + (3, 0)
        bits, fields = own.fields(point)
        self.assertEqual(bits, [8] * 9)
        self.assertEqual(fields["pruning"], [0.25] + [0.0] * 8)
        self.assertEqual(fields["heads"], [0.0, FRACTIONS[2]])
        self.assertEqual(fields["channels"], [FRACTIONS[3], 0.0])

    def test_one_level_for_all_layers(self):
        levels = {0.5: (0.4, 0.6) * 4 + (0.0,)}
        own = space(pruning=(0.5,), scope=levels.get)
        self.assertLen(own, 10)
        _, fields = own.fields((0,) * 9 + (1,))
        self.assertEqual(fields["pruning"], levels[0.5])
        _, fields = own.fields(own.start + ())
        self.assertEqual(fields["pruning"], (0.0,) * 9)

    def test_codecs_of_the_cache_are_one_variable(self):
        specs = [KVSpec.parse(text) for text in ("identity", "int8", "int4")]
        own = space(pruning=(0.5,), kv=specs)
        self.assertLen(own, 9 + 8 + 1)
        for level, spec in enumerate(specs):
            _, fields = own.fields((*own.start[:-1], level))
            self.assertEqual(fields["kv"], spec.to_json())
        self.assertEqual(own.components()["kv", "cache"], [17])
        self.assertTrue(np.all(np.diff(own.damage(None)[-1]) > 0))
        own.alone["kv"] = [0.0, 0.002, 0.001]
        self.assertAllClose(own.damage(None)[-1], own.alone["kv"])

    def test_policies_of_exits_are_one_variable(self):
        specs = [None, ExitSpec.parse("margin:.8"), ExitSpec.parse("margin:.5")]
        own = space(kv=[KVSpec.parse("int8")], exits=specs)
        self.assertLen(own, 9 + 1 + 1)
        for level, spec in enumerate(specs):
            _, fields = own.fields((*own.start[:-1], level))
            self.assertEqual(fields["exit"], spec and spec.to_json())
            self.assertEqual(fields["kv"], KVSpec.parse("int8").to_json())
        self.assertEqual(own.options("exit"), tuple(specs))
        self.assertEqual(own.components()["exit", "tokens"], [10])
        own.alone["exit"] = [0.0, 0.1, 0.2]
        self.assertAllClose(own.damage(None)[-1], own.alone["exit"])
        self.assertEqual(space().options("exit"), ())

    def test_two_bits_are_not_pruned(self):
        with self.assertRaisesRegex(UserError, "grid has no zero"):
            SearchSpace(CONFIG, (8, 2), (8,), pruning=(0.5,))

    def test_components_are_kinds_of_layers(self):
        own = space(pruning=(0.5,)).components()
        self.assertEqual(own["bits", "mlp_in"], [2, 6])
        self.assertEqual(own["bits", "embedding"], [8])
        self.assertEqual(own["pruning", "attention_in"], [9, 13])

    def test_damage_is_what_was_measured(self):
        own = space(pruning=(0.5,))
        rows = [
            {"group": g, "bits": b, "pruning": p, "sparsity": s, "kl": kl}
            for g, b, p, s, kl in (
                (own.groups[0], 8, 0.0, "unstructured", 0.01),
                (own.groups[0], 4, 0.0, "unstructured", 0.3),
                (own.groups[0], 16, 0.5, "unstructured", 0.7),
                (own.groups[0], 16, 0.5, "2:4", 9.0),
                (own.groups[1], 4, 0.0, "unstructured", -1e-9),
            )
        ]
        found = own.damage(Sensitivity(rows, own.groups, {}, {}))
        self.assertAllClose(found[0][:2], [0.01, 0.3])
        self.assertAllClose(found[9], [0.0, 0.7])
        self.assertEqual(found[1][1], 0.0)  # never below nothing

    def test_without_measurements_fewer_bits_are_worse(self):
        for own in space(pruning=(0.25, 0.5)).damage(None):
            self.assertTrue(np.all(np.diff(own) > 0))
