import functools

import numpy as np
from absl.testing import parameterized

from tests.evaluation.token_scores_test import numpy_scores
from tests.layers.layer_inputs import precision
from tests.models.decoder_test import built
from tests.models.decoder_test import SHALLOW
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.analysis.robustness.disturbed_forward import DisturbedForward

TOKENS = np.random.default_rng(0).integers(0, 32, (3, 9)).astype("int32")
MASK = np.ones((3, 9), "float32")
MASK[2] = 0  # a row that fills up the batch
# Of the two families: head and embedding are one group or two.
BITS = {"llama": [4, 8, 2, 8, 8], "gpt2": [8, 4, 8, 2, 8, 4]}


@functools.cache
def forward_of(family, **changes):
    """A `DisturbedForward` of a small model, and its plan: compiled once."""
    own = precision(group=0 if family == "gpt2" else 8, **changes)
    forward = DisturbedForward(built(SHALLOW[family], own))
    return forward, forward.in_force(BITS[family])


def mean_nats(scores):
    nats, _ = scores
    return float((nats * MASK[:, 1:]).sum() / MASK[:, 1:].sum())


class DisturbedForwardTest(TestCase):
    @parameterized.parameters("llama", "gpt2")
    def test_undisturbed_scores_are_those_of_the_model(self, family):
        forward, plan = forward_of(family)
        nats, ranks = forward.scores(plan, TOKENS)
        bits = np.array(BITS[family], "int32")
        logits = to_numpy(forward.model(TOKENS, bits))
        for row in range(3):
            own, rank = numpy_scores(logits[row, :-1], TOKENS[row, 1:])
            self.assertAllClose(nats[row], own, rtol=1e-4, atol=1e-4)
            self.assertAllEqual(ranks[row], rank)

    def test_what_is_read_is_not_what_is_to_be_predicted(self):
        forward, plan = forward_of("llama")
        inputs = TOKENS.copy()
        inputs[:, 4] = (inputs[:, 4] + 1) % 32
        nats, _ = forward.scores(plan, TOKENS, inputs=inputs)
        clean, _ = forward.scores(plan, TOKENS)
        # The fourth target is predicted from what stands before it.
        self.assertAllClose(nats[:, :4], clean[:, :4], atol=1e-5)
        self.assertNotAllClose(nats[:, 4:], clean[:, 4:], atol=1e-3)

    def test_a_dropped_token_and_an_offset_meet_the_embedded_tokens(self):
        forward, plan = forward_of("llama")
        kept = np.ones(TOKENS.shape, "float32")
        kept[:, 2] = 0
        found, _ = forward.scores(plan, TOKENS, kept=kept)
        offset = forward.no_offset(TOKENS)
        bits = np.array(BITS["llama"], "int32")
        embedded, _ = forward.model.embed(TOKENS, np.arange(9)[None], bits)
        offset[:, 2] = -to_numpy(embedded)[:, 2]
        same, _ = forward.scores(plan, TOKENS, offset=offset)
        self.assertAllClose(found, same, atol=1e-5)
        clean, _ = forward.scores(plan, TOKENS)
        self.assertNotAllClose(found, clean, atol=1e-3)

    @parameterized.parameters("llama", "gpt2")
    def test_slope_matches_finite_differences(self, family):
        forward, plan = forward_of(family)
        random = np.random.default_rng(1)
        offset = forward.no_offset(TOKENS)
        offset += 0.1 * random.normal(size=offset.shape)
        slope = to_numpy(forward.slope(plan, TOKENS, MASK, offset))
        for _ in range(3):
            way = random.normal(size=offset.shape).astype("float32")
            up, down = (
                mean_nats(forward.scores(plan, TOKENS, offset=offset + own))
                for own in (2e-4 * way, -2e-4 * way)
            )
            expected = (up - down) / 4e-4
            self.assertAllClose((slope * way).sum(), expected, rtol=0.01)
        self.assertAllEqual(slope[2], np.zeros_like(slope[2]))
        self.assertAllEqual(slope[:, -1], np.zeros_like(slope[:, -1]))

    def test_gradients_pass_rounded_activations(self):
        rounded, plan = forward_of("llama", activations=8)
        exact, same = forward_of("llama")
        offset = rounded.no_offset(TOKENS)
        own = to_numpy(rounded.slope(plan, TOKENS, MASK, offset))
        other = to_numpy(exact.slope(same, TOKENS, MASK, offset))
        # As if nothing had been rounded, at states that rounding moved.
        cosine = (own * other).sum()
        cosine /= np.linalg.norm(own) * np.linalg.norm(other)
        self.assertGreater(cosine, 0.9)
        self.assertNotAllClose(own, other)

    def test_noise_of_rounding_is_a_function_of_its_seed(self):
        forward, plan = forward_of("llama")
        clean, _ = forward.scores(plan, TOKENS)

        def error(bits, seed):
            nats, _ = forward.scores(plan, TOKENS, noise=(bits, seed))
            return np.abs(nats - clean).mean(), nats

        first = error(4, (1, 2))
        self.assertAllEqual(error(4, (1, 2))[1], first[1])
        self.assertNotAllClose(error(4, (2, 2))[1], first[1], atol=1e-4)
        self.assertGreater(error(2, (1, 2))[0], 2 * first[0])
        self.assertLess(error(8, (1, 2))[0], first[0] / 4)
        # It is gone with the call.
        self.assertAllEqual(forward.scores(plan, TOKENS)[0], clean)

    def test_plans_and_full_precision_share_each_trace(self):
        forward, _ = forward_of("llama")
        random = np.random.default_rng(2)
        found = set()
        for bits in (None, *random.integers(2, 9, (4, 5))):
            plan = forward.in_force(bits)
            offset = forward.no_offset(TOKENS)
            slope = forward.slope(plan, TOKENS, MASK, offset)
            nats, _ = forward.scores(plan, TOKENS, offset=slope)
            forward.scores(plan, TOKENS, noise=(4, (0, 1)))
            found.add(float(nats.sum()))
        self.assertLen(found, 5)
        self.assertEqual(
            forward.traces, {"scores": 1, "noisy_scores": 1, "slope": 1}
        )
