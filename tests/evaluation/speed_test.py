import itertools
import time

from tests.test_case import TestCase
from tfshrink.evaluation.quality_meter import QualityMeter
from tfshrink.evaluation.speed import decoding_speed
from tfshrink.evaluation.speed import evaluation_speed
from tfshrink.evaluation.speed import rates
from tfshrink.evaluation.speed import timed
from tfshrink.models.load import load_model


class SpeedTest(TestCase):
    def test_warm_up_is_left_out(self):
        calls = []
        ticks = itertools.accumulate(itertools.count(1))  # 1, 3, 6, 10, ...
        seconds = timed(
            lambda: calls.append(1),
            repeats=2,
            warmup=3,
            clock=lambda: next(ticks),
        )
        self.assertLen(calls, 5)
        self.assertEqual(seconds, [2, 4])

    def test_rates_by_hand(self):
        self.assertEqual(
            rates([1.0, 2.0, 4.0], 8),
            {
                "median": 4.0,
                "q25": 3.0,
                "q75": 6.0,
                "lowest": 2.0,
                "highest": 8.0,
            },
        )

    def test_evaluation_speed_of_a_model(self):
        meter = QualityMeter(load_model("tiny"))
        found = evaluation_speed(
            meter, None, batch_size=2, context=16, repeats=2
        )
        self.assertGreater(found["lowest"], 0)
        self.assertEqual(meter.traces, 1)

    def test_noise_never_makes_decoding_faster_than_the_whole(self):
        seconds = {1: 0.02, 5: 0.001}
        found = decoding_speed(
            lambda prompts, count: time.sleep(seconds[count]),
            [[1]],
            new_tokens=4,
            repeats=2,
        )
        self.assertLessEqual(found["highest"], 4 / seconds[5])

    def test_decoding_takes_the_first_token_off(self):
        made = []
        decoding_speed(
            lambda prompts, count: made.append(count),
            [[1], [2]],
            new_tokens=4,
            repeats=2,
        )
        self.assertEqual(made, [1] * 3 + [5] * 3)
