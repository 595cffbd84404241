import itertools

import numpy as np

from tests.test_case import TestCase
from tfshrink.analysis.token_latency import summary
from tfshrink.analysis.token_latency import token_latency


class TokenLatencyTest(TestCase):
    def test_summary_by_hand(self):
        found = summary([[9.0, 1.0, 3.0], [7.0, 2.0, 2.0]])
        self.assertEqual(found["samples"], 4)
        self.assertEqual(found["p50"], 2.0)
        self.assertAllClose(found["p99"], np.percentile([1, 3, 2, 2], 99))
        # Of the texts alone: medians of 2 and 2 seconds a token.
        self.assertEqual(found["of_texts"]["p50"]["lowest"], 2.0)
        self.assertEqual(found["first_token"]["median"], 8.0)
        self.assertEqual(found["tokens_per_second"]["median"], 0.5)

    def test_warm_up_is_left_out(self):
        ticks = itertools.accumulate(itertools.count(1))  # 1, 3, 6, 10, ...
        made = []

        def stream():
            made.append(1)
            return iter("abc")

        found = token_latency(
            stream, repeats=2, warmup=1, clock=lambda: next(ticks)
        )
        self.assertLen(made, 3)
        # Four ticks a text, of which the first text took those up to 10.
        self.assertEqual(found["first_token"]["lowest"], 6.0)
        self.assertEqual(found["first_token"]["highest"], 10.0)
        self.assertEqual(found["p50"], np.median([7, 8, 11, 12]))
