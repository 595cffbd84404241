import pathlib

import numpy as np

from tests.evaluation import translation_runs as runs
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.exit_spec import ExitSpec
from tfshrink.exits.choice import ExitCost
from tfshrink.exits.choice import summary
from tfshrink.exits.study import ExitSubject
from tfshrink.exits.translated import OpenTranslation
from tfshrink.structure import plan_tensor


class TranslatedTest(TestCase):
    def setUp(self):
        super().setUp()
        folder = pathlib.Path(self.create_tempdir().full_path)
        self.long = runs.write_pairs(folder / "long.tsv", [runs.LONG])
        data = runs.write_pairs(
            folder / "pairs.tsv", [runs.PAIRS[0], runs.LONG, *runs.PAIRS[1:]]
        )
        self.data = data
        one = runs.write_run(folder, data=data, exits=(1,))
        self.one = one

    def open(self, **options):
        one = self.one
        subject = ExitSubject(workdir=one.workdir, new=6, **options)
        (plan,) = one.plans
        model = one.load("float32")
        bits = plan_tensor(model.config, plan)
        return OpenTranslation(subject, one.source, model, plan, bits)

    def test_prompts_are_start_tokens_beside_sources(self):
        own = self.open()
        prompts = own.prompts("test")
        self.assertAllEqual(prompts.tokens, np.full((4, 1), 1))
        self.assertEqual(prompts.names, ("0", "2", "3", "4"))
        self.assertEqual(prompts.sources["source"].shape, (4, 32))
        part = prompts[1:3]
        self.assertAllEqual(
            part.sources["source"], prompts.sources["source"][1:3]
        )
        self.assertEqual(own.results()["data"], self.data)

    def test_a_threshold_of_one_is_the_full_model(self):
        own = self.open()
        prompts = own.prompts("test")
        full = own.quality(prompts, None)
        self.assertEqual(own.quality(prompts, ExitSpec.parse("margin:1")), full)
        self.assertEqual(full["sentences"], 4)
        trace, _ = own.trace(prompts)
        self.assertEqual((trace.layers, trace.depth), ((1,), 2))
        cost = ExitCost.of(own.model)
        self.assertEqual(
            summary(trace, ExitSpec.parse("margin:1"), cost)["agreement"], 1.0
        )
        early = summary(trace, ExitSpec.parse("margin:0:pending=99"), cost)
        self.assertEqual(early["layers"], 1.0)

    def test_keys_and_values_of_a_source_are_read_once(self):
        model = self.one.load("float32")
        width, hidden = model.config.width, model.config.hidden
        # Self-attention has four square matrices, that to a source two more.
        block = 6 * width * width + 2 * width * hidden
        cost = ExitCost.of(model)
        self.assertEqual(cost.blocks, block)
        self.assertEqual(cost.test, width * width + width * 64)

    def test_no_source_that_is_short_enough(self):
        with self.assertRaisesRegex(UserError, "at most 31 tokens"):
            self.open(data=self.long).prompts("test")
