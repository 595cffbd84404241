import numpy as np

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tests.training import tiny
from tfshrink.models import block_runner
from tfshrink.models.importance import order_by_importance
from tfshrink.plan import Plan
from tfshrink.structure import removed_parts
from tfshrink.training.initialisation import initialise
from tfshrink.training.initialisation.absorb import absorbed
from tfshrink.training.initialisation.absorb import absorbing

TOKENS = np.random.default_rng(0).integers(3, 500, (8, 32)).astype("int32")
BANK = {"bank": "codes", "widths": (8, 4), "ranks": ()}
PLAN = Plan.parse("4:heads=.5:channels=.5", layers=2, group=32)


class AbsorbTest(TestCase):
    def test_rows_that_stay_predict_the_others(self):
        random = np.random.default_rng(0)
        inputs = random.normal(size=(400, 8)) @ random.normal(size=(8, 8))
        kernel = random.normal(size=(8, 3))
        found = absorbed(inputs.T @ inputs / 400, kernel, 5)
        self.assertAllEqual(found[5:], kernel[5:])
        best, *_ = np.linalg.lstsq(inputs[:, :5], inputs @ kernel, rcond=None)
        errors = [
            np.mean((inputs[:, :5] @ own - inputs @ kernel) ** 2)
            for own in (best, found[:5], kernel[:5])
        ]
        self.assertBetween(errors[1], errors[0], 1.05 * errors[0])
        self.assertLess(errors[1], 0.5 * errors[2])

    def test_kernels_are_the_sources_again_afterwards(self):
        model = tiny.model(fit=False, **BANK)
        removed = removed_parts(model.config, PLAN)
        runner = block_runner.BlockRunner(model, TOKENS.shape[1], 4, removed)
        runner.load(model.blocks[0])
        states = block_runner.embedded(model, TOKENS)
        kernel = runner.block.mlp.down.kernel
        before = np.array(kernel)
        with absorbing(runner, states) as kept:
            self.assertEqual(kept, {"attention_out": 32, "mlp_out": 64})
            self.assertNotAllClose(before[:64], kernel[:64], atol=1e-4)
        self.assertAllEqual(kernel, before)

    def test_blocks_come_closer_to_what_they_were(self):
        """Where it is known from the start what goes."""
        errors = {}
        for known in (False, True):
            model = tiny.model(fit=False, **BANK)
            kernels = [np.array(b.mlp.down.kernel) for b in model.blocks]
            order_by_importance(model, TOKENS)
            removed = removed_parts(model.config, PLAN)
            reports = initialise(
                model,
                TOKENS,
                method="blockwise",
                fit={"epochs": 2, "batch_size": 4},
                removed=removed if known else None,
            )
            self.assertLen(reports, 4)  # two blocks at 8 and at 4 bits
            for block, kernel in zip(model.blocks, kernels, strict=True):
                order = block.order["channels"]
                self.assertAllEqual(block.mlp.down.kernel, kernel[order])
            errors[known] = self.error(model, removed)
        self.assertLess(errors[True], 0.9 * errors[False], errors)

    def error(self, model, removed):
        """Relative error of the first block at 4 bits, without the parts."""
        runner = block_runner.BlockRunner(model, TOKENS.shape[1], 4, removed)
        runner.load(model.blocks[0])
        states = block_runner.embedded(model, TOKENS)
        wanted = runner.outputs(states, quantized=False)
        found = runner.outputs(states, quantized=True)
        self.assertEqual(found.shape, wanted.shape)
        added = wanted - to_numpy(states)
        return np.mean((found - wanted) ** 2) / np.mean(added**2)
