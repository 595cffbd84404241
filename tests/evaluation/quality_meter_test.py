import numpy as np
from absl.testing import parameterized

from tests.evaluation.token_scores_test import numpy_scores
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.data.pack import windows
from tfshrink.evaluation.quality_meter import QualityMeter
from tfshrink.evaluation.quality_meter import summarize
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.models.load import load_model
from tfshrink.plan import Plan


def random_stream(length, seed=0):
    return np.random.RandomState(seed).randint(3, 512, length).astype("int32")


def numpy_quality(model, stream, context, stride, bits=None):
    """Every window alone, its logits whole, its new tokens counted."""
    nats, ranks, seen = [], [], 1
    starts = range(0, len(stream) - context + stride, stride)
    for start in [min(s, len(stream) - context) for s in starts]:
        tokens = stream[start : start + context]
        given = None if bits is None else np.asarray(bits, "int32")
        hidden = model.hidden(tokens[None], given)
        logits = to_numpy(model.logits(hidden, given))[0, :-1]
        own, rank = numpy_scores(logits, tokens[1:])
        new = np.arange(start + 1, start + context) >= seen
        nats += own[new].tolist()
        ranks += rank[new].tolist()
        seen = start + context
    return np.array(nats), np.array(ranks)


class QualityMeterTest(TestCase):
    @parameterized.parameters((None, 31), ("8", 31), ("4", 16), ("2", 5))
    def test_quality_matches_numpy(self, bits, stride):
        precision = PrecisionConfig(ranks=(), group=64)
        model = load_model("tiny", precision=precision)
        plan = bits and Plan.parse(bits, layers=2).bits
        stream = random_stream(150)
        meter = QualityMeter(model, windows(stream, 32, stride), batch_size=3)
        found = meter.measure(plan)
        nats, ranks = numpy_quality(model, stream, 32, stride, plan)
        self.assertEqual(found["tokens"], 149)
        self.assertLen(nats, 149)
        self.assertAllClose(found["perplexity"], np.exp(nats.mean()), rtol=1e-4)
        self.assertAllClose(found["token_accuracy"], np.mean(ranks < 1))
        self.assertAllClose(found["top5_accuracy"], np.mean(ranks < 5))
        self.assertAllClose(
            found["standard_error"], nats.std() / 149**0.5, rtol=1e-3
        )

    def test_adapters_and_banks_are_judged(self):
        precision = PrecisionConfig(widths=(4,), ranks=(4,), bank="codes")
        model = load_model("tiny", precision=precision)
        for variable in model.variables:
            if variable.path.endswith("adapters/up"):
                shape = tuple(variable.shape)
                variable.assign(np.random.RandomState(1).normal(0, 0.05, shape))
        stream, bits = random_stream(64), Plan.parse("4", layers=2).bits
        found = QualityMeter(model, windows(stream, 32, 31)).measure(bits)
        nats, _ = numpy_quality(model, stream, 32, 31, bits)
        self.assertAllClose(found["perplexity"], np.exp(nats.mean()), rtol=1e-4)

    def test_quantized_activations_are_judged(self):
        precision = PrecisionConfig(ranks=(), activations=8)
        model = load_model("tiny", precision=precision)
        stream, bits = random_stream(64), Plan.parse("8", layers=2).bits
        found = QualityMeter(model, windows(stream, 32, 31)).measure(bits)
        nats, _ = numpy_quality(model, stream, 32, 31, bits)
        self.assertAllClose(found["perplexity"], np.exp(nats.mean()), rtol=1e-3)

    def test_fifty_plans_and_the_reference_share_one_trace(self):
        precision = PrecisionConfig(ranks=(), group=64)
        model = load_model("tiny", precision=precision)
        meter = QualityMeter(model, windows(random_stream(40), 16, 15))
        random = np.random.RandomState(0)
        reference = meter.measure()["perplexity"]
        found = {
            meter.measure(random.randint(2, 9, 9))["perplexity"]
            for _ in range(50)
        }
        self.assertEqual(meter.traces, 1)
        self.assertLen(found, 50)
        self.assertAllClose(meter.measure([32] * 9)["perplexity"], reference)

    def test_bfloat16_is_close(self):
        stream = random_stream(64)
        found = [
            QualityMeter(
                load_model("tiny", dtype=dtype), windows(stream, 32, 31)
            ).measure()["perplexity"]
            for dtype in ("float32", "bfloat16")
        ]
        self.assertAllClose(found[1], found[0], rtol=0.02)

    def test_on_batch_counts_every_window_once(self):
        model = load_model("tiny")
        examples = windows(random_stream(100), 16, 15)
        seen = []
        QualityMeter(model, examples, batch_size=4).measure(None, seen.append)
        self.assertEqual(sum(seen), len(examples))

    def test_summarize_by_hand(self):
        found = summarize(
            np.array([[np.log(2), 9.0], [np.log(8), 9.0]]),
            np.array([[0, 0], [4, 5]]),
            np.array([[1, 0], [1, 0]]),
        )
        self.assertAllClose(found["perplexity"], 4.0)
        self.assertEqual(found["token_accuracy"], 0.5)
        self.assertEqual(found["top5_accuracy"], 1.0)
        self.assertEqual(found["tokens"], 2)
