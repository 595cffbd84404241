import pathlib

import numpy as np

from tests.exits import traces
from tests.test_case import TestCase
from tfshrink.exit_spec import ExitSpec
from tfshrink.exits.choice import summary
from tfshrink.exits.ppo_config import PPOConfig
from tfshrink.exits.ppo_study import beside
from tfshrink.exits.ppo_study import compare_policies
from tfshrink.exits.ppo_study import policy_files

COST = traces.COST
CURVE = [
    {"weights_read": 0.4, "agreement": 0.6},
    {"weights_read": 0.6, "agreement": 0.5},  # beaten
    {"weights_read": 0.8, "agreement": 0.9},
]


class CompareTest(TestCase):
    def test_matches_the_best_thresholds_where_only_their_confidence_tells(
        self,
    ):
        folder = pathlib.Path(self.create_tempdir().full_path)
        files = {("states", w): folder / f"{w}.json" for w in (0.4, 0.8)}
        chosen = traces.made_up(rows=200)
        trace = traces.made_up(rows=200, seed=1)
        found = compare_policies(
            chosen, trace, COST, files, missing="propagate"
        )
        self.assertLen(found["policies"], 2)
        for row in found["policies"]:
            spec = ExitSpec.parse(row["exit"])
            self.assertEqual(spec.missing, "propagate")
            again = summary(trace, spec, COST)
            self.assertEqual(again, {name: row[name] for name in again})
            reward = row["agreement"] - row["cost_weight"] * row["weights_read"]
            self.assertAllClose(row["reward"], reward)
            self.assertAllClose(row["reward"], row["thresholds_reward"], 0.02)
        tuned = {row["cost_weight"]: row for row in found["thresholds"]}
        for weight, row in tuned.items():
            reward = row["agreement"] - weight * row["weights_read"]
            self.assertAllClose(row["reward"], reward)
        read = [tuned[w]["weights_read"] for w in sorted(tuned)]
        self.assertAllClose(read, sorted(read, reverse=True), atol=0.02)

    def test_every_policy_gets_a_file(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        files = policy_files(folder)
        names = {path.name for path in files.values()}
        self.assertLen(names, len(files))
        keys = list(files)[:1]
        config = PPOConfig(iterations=1)
        compare_policies(
            *[traces.made_up()] * 2,
            COST,
            {key: files[key] for key in keys},
            config=config,
        )
        self.assertTrue(files[keys[0]].is_file())


class BesideTest(TestCase):
    def test_values_of_a_curve_worked_out_by_hand(self):
        found = beside(CURVE, {"weights_read": 0.6, "agreement": 0.95})
        self.assertAllClose(found["thresholds_agreement"], 0.75)
        self.assertAllClose(found["thresholds_weights"], 0.9)
        found = beside(CURVE, {"weights_read": 1.1, "agreement": 1.0})
        self.assertAllClose(found["thresholds_agreement"], 1.0)
        self.assertAllClose(found["thresholds_weights"], 1.0)

    def test_below_the_curve_there_is_nothing(self):
        found = beside(CURVE, {"weights_read": 0.3, "agreement": 0.5})
        self.assertEqual(set(found.values()), {None})

    def test_a_point_of_the_curve_is_itself(self):
        found = beside(CURVE, CURVE[2])
        self.assertAllClose(found["thresholds_agreement"], 0.9)
        self.assertAllClose(found["thresholds_weights"], 0.8)
        self.assertIsInstance(found["thresholds_weights"], float)
        self.assertTrue(np.isfinite(found["thresholds_weights"]))
