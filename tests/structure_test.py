import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.models.sources import open_source
from tfshrink.ops import prune
from tfshrink.plan import Plan
from tfshrink.structure import kept_parts
from tfshrink.structure import plan_tensor
from tfshrink.structure import removed_parts

CONFIG = open_source("tiny").config  # 2 kv heads of 2 x 16, 128 channels


def plan(text, **options):
    return Plan.parse(text, layers=2, **{"group": 32, **options})


class StructureTest(TestCase):
    @parameterized.parameters(
        ("8:heads=.5", (1, 0)),
        ("8:heads=.2", (0, 0)),
        ("8:heads=.99:channels=.99", (1, 96)),  # one part always stays
        ("8:channels=.3", (0, 32)),  # 38 of 128, in groups of 32
        ("8:channels=.4", (0, 64)),
    )
    def test_levels_become_whole_parts(self, text, wanted):
        self.assertEqual(removed_parts(CONFIG, plan(text)), [wanted] * 2)

    def test_heads_fill_the_groups_of_a_scale(self):
        levels = {"heads": 0.5, "group": 64}
        self.assertEqual(
            removed_parts(CONFIG, plan("8", **levels)), [(0, 0)] * 2
        )

    def test_channels_of_one_scale_each_go_in_units(self):
        found = removed_parts(CONFIG, plan("8:channels=.3", group=0))
        self.assertEqual(found, [(0, 32)] * 2)

    def test_blocks_have_levels_of_their_own(self):
        own = plan("8", heads=(0.5, 0.0), channels=(0.0, 0.5))
        self.assertEqual(kept_parts(CONFIG, own), [(1, 128), (2, 64)])

    def test_tensor_has_bits_alone_where_nothing_goes(self):
        own = plan("stripe-8-4")
        self.assertAllEqual(plan_tensor(CONFIG, own), own.bits)

    def test_tensor_says_behind_those_what_is_pruned(self):
        found = plan_tensor(CONFIG, plan("4:channels=.25:pruning=.3"))
        self.assertAllEqual(found[0], [4, 0, 3000])
        self.assertAllEqual(found[2], [4, 32, 3000])
        self.assertAllEqual(found[-1], [8, 0, 0])
        found = plan_tensor(CONFIG, plan("8:pruning=2of4"))
        self.assertAllEqual(found[1], [8, 0, prune.PATTERN])

    def test_tensor_says_beside_the_bits_what_goes(self):
        own = plan("4", heads=(0.5, 0.0), channels=(0.0, 0.5))
        found = plan_tensor(CONFIG, own)
        self.assertAllEqual(found[:, 0], own.bits)
        self.assertAllEqual(found[:, 1], [1, 0, 0, 0, 0, 0, 64, 0, 0])
        self.assertEqual(found.dtype, np.int32)
