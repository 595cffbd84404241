import dataclasses

from absl.testing import parameterized

from tests.exits import traces
from tests.test_case import TestCase
from tfshrink.exit_spec import ExitSpec
from tfshrink.exits.choice import summary
from tfshrink.exits.sensitivity import sensitivity
from tfshrink.exits.sensitivity import variants

COST = traces.COST


class SensitivityTest(TestCase):
    def test_rows_are_summaries_of_one_change(self):
        trace = traces.made_up()
        spec = ExitSpec.parse("classifier:.5,.5,.6:layers=3,6,9")
        rows = sensitivity(trace, spec, COST)
        found = {(row["parameter"], row["value"]): row for row in rows}
        expected = {
            ("unchanged", str(spec)): str(spec),
            ("thresholds", "+0.1"): "classifier:.6,.6,.7:layers=3,6,9",
            ("threshold behind 6", "-0.2"): "classifier:.5,.3,.6:layers=3,6,9",
            ("layers", "without 3"): "classifier:.5,.6:layers=6,9",
            ("margin", "0.4"): "classifier:.5,.5,.6:layers=3,6,9:margin=.4",
            ("pending", "2"): "classifier:.5,.5,.6:layers=3,6,9:pending=2",
            ("floor of a decay", "0.5"): "classifier:.5,.5,.6:layers=3,6,9:"
            "schedule=decay:floor=.5",
        }
        base = summary(trace, spec, COST)
        for key, text in expected.items():
            own = summary(trace, ExitSpec.parse(text), COST)
            row = found[key]
            self.assertAllClose(row["agreement"], own["agreement"])
            self.assertAllClose(row["weights_read"], own["weights_read"])
            change = own["weights_read"] - base["weights_read"]
            self.assertAllClose(row["weights_change"], change)

    def test_bolder_thresholds_read_less(self):
        spec = ExitSpec.parse("classifier:.5:missing=propagate")
        rows = sensitivity(traces.made_up(), spec, COST)
        read = [
            r["weights_read"] for r in rows if r["parameter"] == "thresholds"
        ]
        self.assertEqual(read, sorted(read))
        self.assertNotIn("pending", {row["parameter"] for row in rows})

    def test_what_a_policy_cannot_do_is_left_out(self):
        spec = ExitSpec.parse("cosine:.5")
        rows = sensitivity(traces.made_up(), spec, COST)
        self.assertNotIn("layers", {row["parameter"] for row in rows})

    @parameterized.parameters(
        "classifier:1,1,1",
        "classifier:.5:layers=6",
        "ultra",
        "balanced",
        "classifier:0,.9999,1",
    )
    def test_every_variant_is_a_policy(self, text):
        spec = ExitSpec.parse(text)
        base = {"exit_rate": 0.95}
        names = set()
        for name, _, changes in variants(spec, (3, 6, 9), base):
            own = dataclasses.replace(spec, **changes)
            self.assertNotEqual(own.thresholds, ())
            self.assertEqual(ExitSpec.parse(str(own)), own)
            names.add(name)
        self.assertContainsSubset(["margin", "target"], names)
