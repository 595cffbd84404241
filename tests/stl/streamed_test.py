import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.data.prompts import Prompts
from tfshrink.errors import UserError
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.models.load import fit_scales
from tfshrink.models.load import load_model
from tfshrink.models.sources import open_source
from tfshrink.plan import parse_plans
from tfshrink.stl.plan_judge import PlanJudge
from tfshrink.stl.reference import model_reference
from tfshrink.stl.streamed import streamed_signals
from tfshrink.structure import plan_tensor

PRECISION = PrecisionConfig(widths=(), ranks=(), group=32)


def prompts(vocabulary):
    random = np.random.default_rng(0)
    tokens = random.integers(1, vocabulary, (17, 24)).astype("int32")
    lengths = np.full(17, 24, "int32")
    gold = np.full(tokens.shape, -1, "int32")
    gold[3, 5:9] = 7
    return Prompts(tokens, lengths, gold, ("random",) * 17, "0" * 64)


class StreamedTest(TestCase):
    @parameterized.parameters("tiny", "tiny-gpt2")
    def test_signals_are_those_of_a_model_in_memory(self, name):
        source = open_source(name)
        config = source.config
        plans = parse_plans(
            "8;stripe-8-4;4:pruning=.3;4:embedding=4",
            layers=config.layers,
            tied=config.tied,
            group=32,
        )
        text = prompts(config.vocabulary)
        done = []
        found = streamed_signals(
            source, PRECISION, plans, text, progress=done.append
        )
        self.assertEqual(done, list(range(1, config.layers + 1)))
        model = load_model(source, precision=PRECISION, fit=False)
        fit_scales(model, (8, 4))
        judge = PlanJudge(
            model, text, model_reference(load_model(name), text.tokens)
        )
        for plan, own in zip(plans, found, strict=True):
            wanted = judge.measure(plan_tensor(config, plan)).signals
            self.assertEqual(set(own), set(wanted))
            for signal, values in wanted.items():
                self.assertAllClose(
                    own[signal], values, rtol=1e-4, atol=1e-5, msg=signal
                )

    def test_removed_parts_are_refused(self):
        plans = parse_plans("4:channels=.25", layers=2, group=32)
        with self.assertRaisesRegex(UserError, "must remove nothing"):
            streamed_signals(
                open_source("tiny"), PRECISION, plans, prompts(500)
            )
