import dataclasses

import numpy as np

from tests.exits import traces
from tests.test_case import TestCase
from tfshrink.exit_spec import ExitSpec
from tfshrink.exits.behaviour import behaviour
from tfshrink.exits.behaviour import token_rows
from tfshrink.exits.choice import summary

SPEC = ExitSpec.parse("margin:.5:missing=propagate")


def small():
    """Two prompts of three tokens, the last one not made."""
    trace = traces.made_up(rows=2, length=3)
    sure = np.zeros((3, 2, 3), "float32")
    sure[0, 0, 0] = sure[1, 0, 1] = sure[1, 1, 0] = 0.75
    sure[2] += 0.25
    wrong = np.zeros((3, 2, 3), "int32")
    wrong[1, 0, 1] = 1
    made = np.array([[True] * 3, [True, True, False]])
    return dataclasses.replace(
        trace, confidence={"margin": sure}, token=wrong, made=made
    )


class TokensTest(TestCase):
    def test_rows_of_a_small_trace(self):
        keys = "prompt position exit left confidence agrees".split()
        table = [
            (0, 0, 3, True, 0.75, True),
            (0, 1, 6, True, 0.75, False),
            (0, 2, 12, False, 0.25, True),
            (1, 0, 6, True, 0.75, True),
            (1, 1, 12, False, 0.25, True),
        ]
        expected = [dict(zip(keys, row, strict=True)) for row in table]
        self.assertEqual(list(token_rows(small(), SPEC)), expected)

    def test_means_match_the_summary(self):
        trace = traces.made_up()
        spec = ExitSpec.parse("margin:.45:layers=3,9:pending=5")
        rows = list(token_rows(trace, spec))
        found = summary(trace, spec, traces.COST)
        means = {
            "agreement": np.mean([row["agrees"] for row in rows]),
            "exit_rate": np.mean([row["left"] for row in rows]),
            "layers": np.mean([row["exit"] for row in rows]),
        }
        self.assertAllClose(means, {name: found[name] for name in means})


class BehaviourTest(TestCase):
    def test_means_of_a_small_trace(self):
        found = behaviour(small(), SPEC)
        self.assertEqual(
            found["positions"],
            [
                {
                    "position": 0,
                    "exit_rate": 1.0,
                    "agreement": 1.0,
                    "layers": 4.5,
                    "tokens": 2,
                },
                {
                    "position": 1,
                    "exit_rate": 0.5,
                    "agreement": 0.5,
                    "layers": 9.0,
                    "tokens": 2,
                },
                {
                    "position": 2,
                    "exit_rate": 0.0,
                    "agreement": 1.0,
                    "layers": 12.0,
                    "tokens": 1,
                },
            ],
        )
        self.assertEqual([r["tokens"] for r in found["prompts"]], [3, 2])
        self.assertAllClose([r["layers"] for r in found["prompts"]], [7.0, 9.0])
