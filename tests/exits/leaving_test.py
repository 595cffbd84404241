import dataclasses

import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.exits.walked import walked
from tests.models.exit_walk_test import deeper_model
from tests.models.exit_walk_test import model
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.errors import UserError
from tfshrink.exit_spec import ExitSpec
from tfshrink.exits.leaving import Answers
from tfshrink.exits.leaving import check_one_pass
from tfshrink.exits.leaving import Leaving
from tfshrink.models.block_forward import BlockForward

LENGTHS = np.array([20, 13])
ROWS = np.random.default_rng(0).integers(3, 500, (2, 20)).astype("int32")


def left(made, spec):
    """`Left` of `ROWS`, and the logits that tokens are drawn from."""
    forward = BlockForward(made, ROWS.shape[1])
    states = [forward.embed(ROWS)]
    for index in range(made.config.layers):
        states.append(forward.block(index, states[-1]))
    mask = np.arange(ROWS.shape[1]) < LENGTHS[:, None]
    layers = spec.layers_of(made.exits.layers)
    leaving = Leaving(Answers(made, layers), spec)
    head = forward.head()
    found = leaving(states, forward.finish(states[-1]), head, None, mask)
    logits = to_numpy(ops.matmul(found.hidden, head))
    known = np.zeros(logits.shape, bool)
    np.put_along_axis(known, found.candidates, True, axis=-1)
    drawn = np.where(known | ~found.early[..., None], logits, -1e9)
    return found, drawn


class LeavingTest(TestCase):
    @parameterized.parameters(
        ("classifier:.5", 1),
        ("classifier:.4:pending=3", 1),
        ("margin:.02:layers=2", 2),
        ("entropy:.01:schedule=decay:floor=.2", 2),
        ("max:.2,.1:margin=.02", 2),
        ("classifier:.5:schedule=dynamic:target=.5", 1),
        ("cosine:.1:layers=2", 2),
        ("margin:1", 1),
    )
    def test_tokens_are_those_of_generation(self, text, exits):
        made = model() if exits == 1 else deeper_model()
        spec = ExitSpec.parse(text)
        found, drawn = left(made, spec)
        depths = np.array(
            [*spec.layers_of(made.exits.layers), made.config.layers]
        )
        for row, length in enumerate(LENGTHS):
            logits, own = walked(
                made, spec, ROWS[row, :length], total=ROWS.shape[1]
            )
            self.assertAllEqual(depths[found.exits[row, :length]], own)
            self.assertAllClose(drawn[row, :length], logits, atol=1e-3)
        self.assertAllEqual(found.early, found.exits < len(depths) - 1)
        mixed = 0 < found.early[:, :13].mean() < 1
        self.assertEqual(mixed, text != "margin:1")

    def test_exits_without_a_light_head(self):
        made = model(rank=0)
        spec = ExitSpec.parse("margin:.02")
        found, drawn = left(made, spec)
        logits, own = walked(made, spec, ROWS[0])
        self.assertAllEqual(np.array([1, 2])[found.exits[0]], own)
        self.assertAllClose(drawn[0], logits, atol=1e-3)

    @parameterized.parameters("propagate", "recompute", "verify")
    def test_only_lazy_tokens_change_nothing_for_others(self, missing):
        spec = ExitSpec.parse(f"margin:.5:missing={missing}")
        with self.assertRaisesRegex(UserError, "must be missing=lazy"):
            check_one_pass(spec, model().exits)

    def test_exits_that_are_not_there(self):
        spec = dataclasses.replace(ExitSpec.parse("margin:.5"), layers=(7,))
        with self.assertRaisesRegex(UserError, "exits behind: 1. Received: 7"):
            check_one_pass(spec, model().exits)
