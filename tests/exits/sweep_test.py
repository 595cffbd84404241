import dataclasses

import numpy as np

from tests.exits import traces
from tests.test_case import TestCase
from tfshrink.exit_spec import ExitSpec
from tfshrink.exits.choice import summary
from tfshrink.exits.sweep import calibration_curve
from tfshrink.exits.sweep import sweep
from tfshrink.exits.sweep import tuned

COST = traces.COST


class SweepTest(TestCase):
    def test_the_front_holds_what_nothing_beats(self):
        trace = traces.made_up()
        rows = sweep(trace, COST, confidences=("margin",), points=6)
        points = [(row["weights_read"], row["agreement"]) for row in rows]
        for row, (read, agreement) in zip(rows, points, strict=True):
            beaten = any(
                x <= read and y >= agreement and (x, y) != (read, agreement)
                for x, y in points
            )
            self.assertEqual(row["on_front"], not beaten)
        self.assertEqual(rows[-1]["agreement"], 1.0)
        self.assertEqual(rows[-1]["exit_rate"], 0.0)

    def test_bolder_thresholds_read_less(self):
        rows = sweep(traces.made_up(), COST, confidences=("classifier",))
        read = [row["weights_read"] for row in rows]
        self.assertEqual(read, sorted(read))


class TunedTest(TestCase):
    def test_agrees_as_wanted_and_reads_less_than_one_threshold(self):
        trace = traces.made_up(rows=80)
        options = {"missing": "propagate"}
        rows = sweep(
            trace, COST, confidences=("classifier",), points=48, **options
        )
        for wanted in (0.8, 0.95):
            single = min(
                row["weights_read"]
                for row in rows
                if row["agreement"] >= wanted
            )
            spec, found = tuned(trace, COST, wanted, **options)
            self.assertGreaterEqual(found["agreement"], wanted)
            self.assertLessEqual(found["weights_read"], single)
            self.assertEqual(found, summary(trace, spec, COST))
            self.assertEqual(ExitSpec.parse(str(spec)), spec)

    def test_a_light_head_is_taken_where_it_is_right(self):
        trace = traces.made_up()
        right = np.zeros_like(trace.light_token)
        for light, head in ((right, "light"), (right + 1, "full")):
            own = dataclasses.replace(trace, light_token=light)
            spec, _ = tuned(own, COST, 0.98)
            self.assertEqual(spec.head, head)
        spec, _ = tuned(trace, COST, 0.98, head="full")
        self.assertEqual(spec.head, "full")
        bare = dataclasses.replace(COST, propose=COST.head)
        spec, _ = tuned(
            dataclasses.replace(trace, light_token=right), bare, 0.9
        )
        self.assertEqual(spec.head, "full")

    def test_without_a_gain_nothing_leaves(self):
        trace = traces.made_up()
        wrong = np.ones_like(trace.token)
        trace = dataclasses.replace(trace, token=wrong)
        spec, found = tuned(trace, COST, 1.0)
        self.assertEqual((spec.thresholds, spec.head), ((1.0,), "full"))
        self.assertEqual(found["agreement"], 1.0)

    def test_an_exit_that_is_never_right_is_not_asked(self):
        trace = traces.made_up(rows=80)
        token = trace.token.copy()
        token[0] = 1
        trace = dataclasses.replace(trace, token=token)
        spec, _ = tuned(trace, COST, 0.95, missing="propagate")
        self.assertNotIn(3, spec.layers)


class CurveTest(TestCase):
    def test_an_honest_confidence_lies_on_the_diagonal(self):
        trace = traces.made_up(rows=400)
        for curve in calibration_curve(trace, "max"):
            self.assertEqual(sum(part["tokens"] for part in curve), 400 * 16)
            for part in curve:
                spread = 4 / np.sqrt(part["tokens"])
                self.assertAllClose(part["sure"], part["right"], atol=spread)
