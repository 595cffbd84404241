import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tests.training import tiny
from tfshrink.errors import UserError
from tfshrink.models import block_runner
from tfshrink.models.checkpoint import load_model_state
from tfshrink.models.checkpoint import load_tensors
from tfshrink.models.checkpoint import save_model
from tfshrink.models.folds import folds
from tfshrink.training.initialisation import initialise
from tfshrink.training.initialisation import smooth
from tfshrink.training.initialisation.block_report import relative_error
from tfshrink.training.initialisation.smoothing import factors

TOKENS = np.random.default_rng(0).integers(3, 500, (8, 32)).astype("int32")
BANK = {"bank": "codes", "bank_widths": (3,), "widths": (8, 3), "ranks": ()}


def plan_bits(bits):
    return np.array([bits] * 8 + [16], "int32")


def uneven(model):
    """Norms let a few channels through far larger than the others."""
    for block in model.blocks:
        for norm in (block.attention_norm, block.mlp_norm):
            scale = to_numpy(norm.scale).copy()
            scale[::16] *= 8.0
            norm.scale.assign(scale)
    return model


class InitialiseTest(TestCase):
    @parameterized.parameters(
        ("gptq", ()), ("blockwise", ()), ("blockwise", (2, 4))
    )
    def test_calibrated_blocks_beat_rounding(self, method, ranks):
        model = tiny.model(fit=False, **{**BANK, "ranks": ranks})
        done = []
        reports = initialise(
            model,
            TOKENS,
            method=method,
            fit={"epochs": 2, "batch_size": 4},
            progress=done.append,
        )
        self.assertEqual(done, [1, 2])
        self.assertEqual([r.block for r in reports], ["block_00", "block_01"])
        for report in reports:
            self.assertEqual(report.bits, 3)
            self.assertGreater(report.nearest, 0.0)
            self.assertLess(report.rounded, report.nearest, report)
            check = self.assertLess
            if method == "gptq":
                check = self.assertEqual
            check(report.error, report.rounded, report)
        codes = to_numpy(model.blocks[0].mlp.up.quantizer.bank)
        self.assertEqual(codes.dtype, np.int8)
        self.assertAllEqual(np.unique(codes), np.arange(-3, 4))

    def test_a_tied_embedding_is_rounded_for_the_head(self):
        errors = {}
        four = {**BANK, "bank_widths": (4,), "widths": (8, 4)}
        for method in ("mse", "gptq"):
            model = tiny.model(fit=False, **four)
            initialise(model, TOKENS, method=method)
            states = to_numpy(model.hidden(TOKENS)[0]).reshape(-1, 64)
            table = to_numpy(model.embedding.table)
            change = to_numpy(model.embedding.head(4)) - table
            errors[method] = np.mean((states @ change.T) ** 2)
        self.assertGreater(errors["gptq"], 0.0)
        self.assertLess(errors["gptq"], 0.8 * errors["mse"])

    @parameterized.parameters(0.5, 9.0)
    def test_a_fit_that_does_harm_is_undone(self, rate):
        def codes_and_scales(method, **fit):
            model = tiny.model(fit=False, **BANK)
            (first, *_) = initialise(model, TOKENS, method=method, fit=fit)
            return first, [to_numpy(v) for v in model.blocks[0].variables]

        rates = {"scales": rate, "latents": rate}
        spoiled, values = codes_and_scales("blockwise", rates=rates)
        rounded, expected = codes_and_scales("gptq")
        self.assertEqual(spoiled.error, rounded.error)
        self.assertAllClose(values, expected)

    def test_rounding_methods_need_no_tokens(self):
        for method in ("rtn", "mse"):
            model = tiny.model(fit=False, **BANK)
            self.assertEqual(initialise(model, None, method=method), [])
            scale = to_numpy(model.blocks[0].mlp.up.quantizer.scale(3))
            self.assertTrue((scale > 0).all() and (scale != 1).all())

    def test_an_unknown_method_gets_a_suggestion(self):
        with self.assertRaisesRegex(UserError, "Did you mean `gptq`"):
            initialise(None, None, method="gtpq")


class AwqTest(TestCase):
    @parameterized.parameters(
        ("tiny", "none", 3), ("tiny-gpt2", "none", 2), ("tiny", "codes", 3)
    )
    def test_full_precision_stays_and_rounding_improves(
        self, name, bank, groups
    ):
        structure = {**BANK, "bank": bank, "widths": (8, 3)}
        if bank == "none":
            structure["bank_widths"] = None
        model = uneven(tiny.model(name, fit=False, **structure))
        full = to_numpy(model(TOKENS))
        reports = initialise(model, TOKENS, method="awq")
        self.assertLen(reports, 2)
        self.assertLen(folds(model), 2 * groups)
        for report in reports:
            self.assertEqual(report.bits, 3)
            self.assertLess(report.error, report.nearest, report)
        after = to_numpy(model(TOKENS))
        self.assertAllClose(after, full, rtol=1e-3, atol=1e-3)
        low = to_numpy(model(TOKENS, plan_bits(3)))
        high = to_numpy(model(TOKENS, plan_bits(8)))
        self.assertLess(
            np.mean((high - full) ** 2), 0.1 * np.mean((low - full) ** 2)
        )

    def test_a_checkpoint_restores_the_folds_in_a_fresh_model(self):
        model = tiny.model(fit=False, **BANK)
        initialise(model, TOKENS, method="awq")
        path = self.create_tempdir().full_path + "/m.safetensors"
        save_model(path, model)
        self.assertLen([n for n in load_tensors(path)[0] if "fold/" in n], 6)
        twin = tiny.model(fit=False, **BANK)
        for _ in range(2):  # a second load folds nothing twice
            load_model_state(path, twin)
        for a, b in zip(model.variables, twin.variables, strict=True):
            self.assertAllClose(a, b, rtol=1e-6, atol=0, msg=a.path)


class SmoothTest(TestCase):
    def test_factors_match_a_table_worked_by_hand(self):
        kernel = np.array([[1.0, -4.0], [0.25, 0.0]])
        # (4 / 4)^.5 = 1 and (1 / 0.25)^.5 = 2, over their geometric mean.
        found = factors(np.array([4.0, 1.0]), [kernel], 0.5)
        self.assertAllClose(found, np.array([1.0, 2.0]) / np.sqrt(2.0))

    def test_peaks_shrink_and_the_model_computes_what_it_did(self):
        model = tiny.model(fit=False, **BANK)
        full = to_numpy(model(TOKENS))
        block = model.blocks[0]
        block.attention_norm.scale.assign(
            np.asarray(block.attention_norm.scale) * ([30.0] + [1.0] * 63)
        )
        loud = to_numpy(model(TOKENS))
        self.assertNotAllClose(loud, full)
        before = self._peaks(model)
        smooth(model, TOKENS, 0.5)
        self.assertAllClose(model(TOKENS), loud, rtol=1e-3, atol=1e-3)
        after = self._peaks(model)
        self.assertLess(
            after.max() / np.median(after), before.max() / np.median(before) / 2
        )
        self.assertLen(folds(model), 6)

    def _peaks(self, model):
        runner = block_runner.BlockRunner(model, TOKENS.shape[1], 3)
        runner.load(model.blocks[0])
        return runner.peaks(block_runner.embedded(model, TOKENS))[
            "attention_in"
        ]


class CaptureTest(TestCase):
    def test_moments_match_the_inputs_in_numpy(self):
        model = tiny.model(fit=False, **BANK)
        runner = block_runner.BlockRunner(model, TOKENS.shape[1], 3)
        block = model.blocks[0]
        runner.load(block)
        states = block_runner.embedded(model, TOKENS[:5])  # no whole batch
        product, magnitude = runner.statistics(states)["attention_in"]
        x = to_numpy(block.attention_norm(states)).reshape(-1, 64)
        x = x.astype("float64")
        self.assertAllClose(product, x.T @ x / len(x), rtol=1e-4, atol=1e-5)
        self.assertAllClose(magnitude, np.abs(x).mean(0), rtol=1e-4)
        full = runner.outputs(states, quantized=False)
        bits = np.array([16] * 4, "int32")
        same, _ = block(states, bits, runner.rotation)
        self.assertAllClose(full, same, rtol=1e-4, atol=1e-4)

    def test_relative_error_matches_a_table_worked_by_hand(self):
        wanted = np.array([[[0.0], [2.0]]])
        output = np.array([[[0.5], [2.5]]])
        self.assertAllClose(relative_error(output, wanted), 0.25)
