import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.deploy.sampling import nucleus
from tfshrink.deploy.sampling import penalized
from tfshrink.deploy.sampling import Sampler
from tfshrink.deploy.sampling import Sampling
from tfshrink.errors import UserError

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3], "float32"))


def shares(count=4000, **settings):
    """How often each token of `LOGITS` is drawn."""
    settings = {"top_p": 1.0, "repetition_penalty": 1.0, **settings}
    sampler = Sampler(Sampling(temperature=1.0, **settings))
    drawn = [sampler(LOGITS) for _ in range(count)]
    return np.bincount(drawn, minlength=4) / count


class SamplingTest(TestCase):
    def test_greedy_takes_the_likeliest(self):
        sampler = Sampler(Sampling(temperature=0, repetition_penalty=1.0))
        self.assertEqual([sampler(LOGITS) for _ in range(3)], [1, 1, 1])

    def test_draws_in_proportion(self):
        self.assertAllClose(shares(), [0.1, 0.4, 0.2, 0.3], atol=0.03)

    def test_top_k_keeps_the_likeliest(self):
        self.assertAllClose(shares(top_k=2), [0, 4 / 7, 0, 3 / 7], atol=0.03)

    def test_top_p_keeps_the_nucleus(self):
        self.assertAllClose(shares(top_p=0.6), [0, 4 / 7, 0, 3 / 7], atol=0.03)
        self.assertAllClose(nucleus(np.array([0.5, 0.5]), 0.4), [0.5, 0.5])

    def test_penalty_by_hand(self):
        logits = np.array([2.0, -2.0, 1.0], "float32")
        found = penalized(logits, [0, 1], 2.0)
        self.assertAllClose(found, [1.0, -4.0, 1.0])
        self.assertAllClose(logits, [2.0, -2.0, 1.0])

    def test_penalty_falls_on_the_prompt_and_on_what_was_drawn(self):
        settings = Sampling(temperature=0, repetition_penalty=100.0)
        logits = np.array([4.0, 3.0, 2.0], "float32")
        sampler = Sampler(settings, [0])
        self.assertEqual([sampler(logits) for _ in range(2)], [1, 2])

    def test_a_seed_decides(self):
        def drawn(seed):
            sampler = Sampler(Sampling(seed=seed))
            return [sampler(LOGITS) for _ in range(20)]

        self.assertEqual(drawn(3), drawn(3))
        self.assertNotEqual(drawn(3), drawn(4))

    @parameterized.parameters(
        {"temperature": -1.0},
        {"top_k": -1},
        {"top_p": 0.0},
        {"repetition_penalty": 0.0},
        {"seed": -1},
    )
    def test_a_value_out_of_range_is_named(self, **wrong):
        with self.assertRaisesRegex(UserError, f"`{next(iter(wrong))}` must"):
            Sampling(**wrong)
