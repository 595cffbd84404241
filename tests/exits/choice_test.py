import dataclasses

import numpy as np
from absl.testing import parameterized

from tests.exits import traces
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.exit_spec import ExitSpec
from tfshrink.exits.choice import chosen_exits
from tfshrink.exits.choice import ExitCost
from tfshrink.exits.choice import summary
from tfshrink.models.generation import Generator

COST = traces.COST


class ChosenTest(TestCase):
    @parameterized.parameters(
        "classifier:.5",
        "classifier:.45:pending=3",
        "margin:.02:missing=recompute",
        "entropy:.01:schedule=decay:floor=.2",
        "max:.2:margin=.03",
        "classifier:.5:schedule=dynamic:target=.5",
        "cosine:0",
    )
    def test_tokens_leave_where_generation_lets_them(self, text):
        made, trace, rows = traces.of_tiny()
        spec = ExitSpec.parse(text)
        chosen = chosen_exits(trace, spec, traces.NEW)
        generator = Generator(made, exits=spec)
        compared = 0
        for index, prompt in enumerate(traces.PROMPTS):
            [row] = generator.generate(
                [prompt], max_new_tokens=traces.NEW, temperature=0.0
            )
            full = rows[index][len(prompt) :]
            own = chosen[index][trace.made[index]]
            depths = np.array([*trace.layers, trace.depth])[own].tolist()
            # Behind the first wrong token the texts are two.
            pairs = zip(row, full, strict=False)
            same = [a == b for a, b in pairs]
            until = same.index(False) + 1 if False in same else len(same)
            self.assertEqual(generator.depths[0][:until], depths[:until])
            compared += until
        self.assertGreater(compared, 8)

    def test_a_threshold_of_one_lets_nothing_leave(self):
        trace = traces.made_up()
        chosen = chosen_exits(trace, ExitSpec.parse("classifier:1"))
        self.assertAllEqual(chosen, np.full(chosen.shape, 3))

    def test_the_first_exit_that_is_sure_is_taken(self):
        trace = traces.made_up()
        sure = trace.confidence["margin"]
        spec = ExitSpec.parse("margin:.5,.6,.7:missing=propagate")
        chosen = chosen_exits(trace, spec)
        for row, column in np.ndindex(*chosen.shape):
            own = sure[:, row, column] > [0.5, 0.6, 0.7]
            expected = int(own.argmax()) if own.any() else 3
            self.assertEqual(chosen[row, column], expected)

    def test_exits_that_are_not_named_are_passed(self):
        spec = ExitSpec.parse("margin:.1:layers=6:missing=propagate")
        chosen = chosen_exits(traces.made_up(), spec)
        self.assertEqual(set(np.unique(chosen)) - {1, 3}, set())

    def test_no_more_tokens_wait_than_may(self):
        trace = traces.made_up()
        chosen = chosen_exits(trace, ExitSpec.parse("margin:0:pending=4"))
        self.assertAllEqual(chosen[:, 3::4], np.full(chosen[:, 3::4].shape, 3))
        self.assertAllLess(chosen[:, :3], 3)

    def test_a_target_is_held(self):
        trace = traces.made_up(rows=8, length=400)
        spec = "margin:.5:missing=propagate:schedule=dynamic:target=.4"
        chosen = chosen_exits(trace, ExitSpec.parse(spec))
        self.assertAllClose((chosen < 3).mean(), 0.4, atol=0.03)

    def test_a_cosine_needs_its_neighbours(self):
        spec = ExitSpec.parse("cosine:.5:layers=6")
        with self.assertRaisesRegex(UserError, "must use all exits"):
            chosen_exits(traces.made_up(), spec)


class CostTest(TestCase):
    def test_all_matrices_of_a_model_are_counted(self):
        made, _, _ = traces.of_tiny()
        cost = ExitCost.of(made)

        def size(variables):
            shapes = [tuple(v.shape) for v in variables]
            return sum(int(np.prod(s)) for s in shapes if len(s) == 2)

        blocks = [v for block in made.blocks for v in block.variables]
        self.assertEqual(cost.depth * cost.blocks, size(blocks))
        self.assertEqual(cost.head, size(made.embedding.variables))
        # Of the classifier's second matrix, a vector, nothing.
        inner = made.exits.hidden
        self.assertEqual(cost.test, size(made.exit_heads[0].variables) - inner)
        rows = made.exits.candidates * made.config.width
        self.assertEqual(cost.propose, size(made.light_head.variables) + rows)

    def test_what_each_exit_reads(self):
        states = COST.read(ExitSpec.parse("classifier:.5"))
        self.assertAllClose(states, [33, 64, 95, 203])
        logits = COST.read(ExitSpec.parse("margin:.5"))
        self.assertAllClose(logits, [33, 66, 99, 209])
        one = COST.read(ExitSpec.parse("classifier:.5:layers=6"))
        self.assertAllClose(one[[1, 3]], [63, 201])
        tests = COST.tests(ExitSpec.parse("classifier:.5"))
        self.assertAllClose(tests, [1, 2, 3, 3])
        tests = COST.tests(ExitSpec.parse("margin:.5"))
        self.assertAllClose(tests, [3, 6, 9, 9])
        light = ExitSpec.parse("margin:.5:head=light")
        self.assertAllClose(COST.read(light), [33, 66, 99, 131])
        self.assertAllClose(COST.tests(light), [3, 6, 9, 9])


class SummaryTest(TestCase):
    def test_counts_of_a_small_trace(self):
        trace = traces.made_up(rows=1, length=4)
        sure = np.array([[0.9, 0, 0, 0.9], [0, 0.9, 0, 0], [0, 0, 0, 0]])
        trace = dataclasses.replace(
            trace,
            confidence={"margin": sure[:, None].astype("float32")},
            token=np.array([[0, 0, 0, 1], [0] * 4, [0] * 4])[:, None],
            nats=np.full((3, 1, 4), 2.0, "float32"),
            made=np.array([[True, True, True, True]]),
        )
        spec = ExitSpec.parse("margin:.5:missing=propagate")
        found = summary(trace, spec, COST)
        self.assertEqual(found["agreement"], 0.75)
        self.assertEqual(found["exit_rate"], 0.75)
        light = dataclasses.replace(
            trace, light_token=np.array([[1, 1, 1, 1]], "int32")
        )
        self.assertEqual(summary(light, spec, COST)["agreement"], 0.75)
        spec_light = dataclasses.replace(spec, head="light")
        own = summary(light, spec_light, COST)["agreement"]
        self.assertEqual(own, 0.5)  # the one that leaves nowhere is wrong
        self.assertEqual(found["layers"], (3 + 6 + 12 + 3) / 4)
        self.assertEqual(found["saved_layers"], 0.5)
        self.assertAllClose(
            found["weights_read"], (33 + 66 + 209 + 33) / 4 / 200
        )
        self.assertEqual(
            found["by_layer"], {"3": 0.5, "6": 0.25, "9": 0.0, "12": 0.25}
        )
        self.assertEqual(found["by_position"][::2], [3, 6, 12, 3])
        self.assertAllClose(found["perplexity_ratio"], np.exp(0.75))
        self.assertEqual(found["tokens"], 4)

    def test_what_was_not_made_does_not_count(self):
        trace = traces.made_up(rows=2, length=8)
        made = trace.made.copy()
        made[1] = False
        spec = ExitSpec.parse("margin:.4")
        part = dataclasses.replace(trace, made=made)
        self.assertEqual(
            summary(part, spec, COST), summary(trace[:1], spec, COST)
        )
