import dataclasses

import numpy as np

from tests.exits import traces
from tests.test_case import TestCase
from tfshrink.exit_spec import ExitSpec
from tfshrink.exits.batches import batch_layers
from tfshrink.exits.choice import chosen_exits

SPEC = ExitSpec.parse("classifier:.6:missing=propagate")


class BatchesTest(TestCase):
    def test_one_sequence_runs_what_its_tokens_want(self):
        trace = traces.made_up()
        (found,) = batch_layers(trace, SPEC, sizes=(1,))
        depths = np.array([3, 6, 9, 12])[chosen_exits(trace, SPEC)]
        self.assertAllClose(found["wanted"], depths.mean())
        self.assertAllClose(found["layers"], depths.mean())
        self.assertAllClose(found["sorted_layers"], depths.mean())

    def test_all_sequences_run_the_deepest_of_each_step(self):
        trace = traces.made_up(rows=4)
        (found,) = batch_layers(trace, SPEC, sizes=(4, 8))
        depths = np.array([3, 6, 9, 12])[chosen_exits(trace, SPEC)]
        self.assertAllClose(found["layers"], depths.max(axis=0).mean())

    def test_larger_batches_cost_more_and_sorting_helps(self):
        trace = traces.made_up(rows=64)
        # Half of the prompts are easy.
        for values in trace.confidence.values():
            values[:, ::2] = 0.9
        found = batch_layers(trace, SPEC)
        layers = [row["layers"] for row in found]
        self.assertEqual(layers, sorted(layers))
        for row in found[1:]:
            self.assertLess(row["sorted_layers"], row["layers"])

    def test_sequences_that_ended_ask_for_nothing(self):
        trace = traces.made_up(rows=2)
        made = trace.made.copy()
        made[1, 1:] = False  # over after its first token
        confidence = {
            name: np.where([[[True], [False]]], 0.9, values)
            for name, values in trace.confidence.items()
        }
        confidence["classifier"][:, 1] = 0.0  # it wanted all blocks
        trace = dataclasses.replace(trace, made=made, confidence=confidence)
        (found,) = batch_layers(trace, SPEC, sizes=(2,))
        length = made.shape[1]
        self.assertAllClose(found["layers"], (12 + 3 * (length - 1)) / length)
