from tests.test_case import TestCase
from tfshrink.analysis.bit_map import bit_map
from tfshrink.evaluation.shapes import vector_parameters
from tfshrink.evaluation.size import effective_bits
from tfshrink.evaluation.size import model_bytes
from tfshrink.evaluation.size import SINGLE
from tfshrink.models.sources import open_source
from tfshrink.plan import Plan


class BitMapTest(TestCase):
    def setUp(self):
        super().setUp()
        self.config = open_source("tiny").config
        self.plan = Plan.parse("stripe-8-4", layers=2, group=32)

    def test_bytes_are_those_of_the_model(self):
        ranks = {8: 2, 4: 4}
        found = bit_map(self.config, self.plan, ranks)
        total = model_bytes(self.config, self.plan, ranks)
        norms = SINGLE * vector_parameters(self.config)
        self.assertEqual(
            sum(row["bytes"] for row in found["groups"]), total - norms
        )
        bare = model_bytes(self.config, self.plan)
        self.assertAllClose(found["shares"]["adapters"], (total - bare) / total)
        (outer,) = (
            row for row in found["groups"] if row["name"] == "embedding"
        )
        self.assertAllClose(
            found["shares"]["embedding"], outer["bytes"] / total
        )
        self.assertEqual(outer["adapter_bytes"], 0)

    def test_shares_of_weights_give_the_effective_bits(self):
        found = bit_map(self.config, self.plan)
        self.assertAllClose(
            sum(b * share for b, share in found["weights_by_bits"].items()),
            effective_bits(self.config, self.plan),
        )
        self.assertEqual(
            [row["bits"] for row in found["groups"]], list(self.plan.bits)
        )
