import dataclasses

import numpy as np
from absl.testing import parameterized

from tests.exits import traces
from tests.test_case import TestCase
from tfshrink.data.prompts import Prompts
from tfshrink.exit_spec import ExitSpec
from tfshrink.exits.choice import chosen_exits
from tfshrink.exits.choice import ExitCost
from tfshrink.exits.choice import summary
from tfshrink.exits.followed import followed
from tfshrink.exits.followed import needs_following
from tfshrink.models.generation import Generator


@dataclasses.dataclass(frozen=True)
class Own:
    model: object
    bits: object = None
    codecs: object = None


def opened():
    """`(own, prompts, rows, trace)` of the tiny model."""
    model, trace, rows = traces.of_tiny()
    lengths = np.array([len(prompt) for prompt in traces.PROMPTS], "int32")
    tokens = np.zeros((len(lengths), lengths.max()), "int32")
    prompts = Prompts(tokens, lengths, tokens * 0 - 1, ("own",) * 4, "")
    return Own(model), prompts, rows, trace


class FollowedTest(TestCase):
    @parameterized.parameters(
        "classifier:.45:pending=3",
        "margin:.02:missing=recompute",
        "classifier:.5:head=light",
        "classifier:.5:schedule=dynamic:target=.5",
    )
    def test_it_says_what_a_trace_knows(self, text):
        own, prompts, rows, trace = opened()
        spec = ExitSpec.parse(text)
        self.assertFalse(needs_following(spec))
        exits, right = followed(own, prompts, rows, trace, spec, traces.NEW)
        made = trace.made
        wanted = chosen_exits(trace, spec, traces.NEW)
        self.assertAllEqual(exits[made], wanted[made])
        every = trace.rights(spec.head)
        wanted = np.take_along_axis(every, wanted[None], axis=0)[0]
        self.assertAllEqual(right[made], wanted[made])

    def test_made_up_keys_and_values_change_what_is_said(self):
        own, prompts, rows, trace = opened()
        spec = ExitSpec.parse("classifier:.5:missing=propagate")
        self.assertTrue(needs_following(spec))
        exits, right = followed(own, prompts, rows, trace, spec, traces.NEW)
        generator = Generator(own.model, exits=spec)
        seen = []
        for index, prompt in enumerate(traces.PROMPTS):
            (row,) = generator.generate(
                [prompt], max_new_tokens=traces.NEW, temperature=0.0
            )
            full = rows[index][len(prompt) :]
            # Until the first wrong token generation goes along the same text.
            pairs = [a == b for a, b in zip(row, full, strict=False)]
            until = pairs.index(False) + 1 if False in pairs else len(pairs)
            own_right = right[index, trace.made[index]][:until]
            self.assertEqual(own_right.tolist(), pairs[:until])
            own_exits = exits[index, trace.made[index]][:until]
            depths = np.array([1, 2])[own_exits].tolist()
            self.assertEqual(generator.depths[0][:until], depths)
            seen += depths
        self.assertEqual(set(seen), {1, 2})
        found = summary(
            trace, spec, ExitCost.of(own.model), traces.NEW, (exits, right)
        )
        self.assertEqual(found["agreement"], right[trace.made].mean())
        self.assertIsNone(found["perplexity_ratio"])
