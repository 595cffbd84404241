import time
import weakref

import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.errors import UserError
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.models.load import load_model
from tfshrink.models.load import weight_variables
from tfshrink.models.sources.tiny import TinySource
from tfshrink.ops.quantize import group_view
from tfshrink.ops.quantize import WIDTHS
from tfshrink.ops.scale_search import peak_scale
from tfshrink.ops.scale_search import search_scale

PRECISION = PrecisionConfig(ranks=(1, 2, 4), group=32)


def misaligned(value):
    """A copy that JAX cannot take over as a variable's own memory."""
    raw = np.empty(value.nbytes + 64, "uint8")
    start = (4 - raw.ctypes.data) % 64
    copy = raw[start : start + value.nbytes].view("float32")
    copy = copy.reshape(value.shape)
    copy[...] = value
    return copy


class Changed(TinySource):
    """The tiny model with its weights passed through a function."""

    def __init__(self, change):
        super().__init__("tiny")
        self.change = change

    def weights(self):
        yield from self.change(super().weights())


class LoadTest(TestCase):
    @parameterized.product(
        name=("tiny", "tiny-gpt2"), precision=(None, PRECISION)
    )
    def test_every_weight_arrives(self, name, precision):
        model = load_model(name, precision=precision, fit=False)
        expected = dict(TinySource(name).weights())
        found = {}
        for variable in weight_variables(model):
            found[variable.path.removeprefix(model.name + "/")] = variable
        self.assertCountEqual(found, expected)
        for key, value in expected.items():
            self.assertAllEqual(found[key], value)

    @parameterized.parameters("mse", "rtn")
    def test_every_width_of_every_group_has_fitted_scales(self, method):
        from tfshrink.models.load import fit_scales

        model = load_model("tiny", precision=PRECISION, fit=method == "mse")
        if method == "rtn":
            fit_scales(model, method="rtn")
        for members in model.groups().values():
            for layer in members[:1]:
                axis = 1 if hasattr(layer, "table") else 0
                weight = layer.table if axis else layer.kernel
                for bits in (2, 3, 4, 5, 8):
                    groups = weight.shape[axis] // 32 if bits <= 4 else 1
                    if method == "mse":
                        scale = search_scale(weight, bits, groups, axis=axis)
                    else:
                        grouped = group_view(to_numpy(weight), groups, axis)
                        scale = to_numpy(peak_scale(grouped, bits, axis))
                    found = to_numpy(layer.quantizer.scale(bits))
                    self.assertAllClose(
                        found,
                        np.broadcast_to(
                            np.repeat(scale, found.shape[axis] // groups, axis),
                            found.shape,
                        ),
                        rtol=1e-5 if method == "mse" else 0.005,
                    )

    def test_banks_hold_the_nearest_codes(self):
        model = load_model(
            "tiny",
            precision=PrecisionConfig(bank="codes", group=32),
            fit=False,
        )
        layer = model.blocks[0].mlp.down
        layer.quantizer.fit(layer.kernel, WIDTHS, method="rtn")
        for row, bits in enumerate(layer.precision.widths):
            self.assertAllEqual(
                layer.quantizer.bank[row],
                layer.quantizer.codes(layer.kernel.value, bits),
            )
            levels = layer.quantizer(layer.kernel, bits=bits)
            self.assertLess(
                np.abs(to_numpy(levels) - to_numpy(layer.kernel)).mean(),
                to_numpy(layer.quantizer.scale(bits)).mean(),
            )

    def test_bfloat16_computes_and_float32_holds(self):
        model = load_model("tiny", dtype="bfloat16")
        self.assertEqual(model.compute_dtype, "bfloat16")
        self.assertEqual({v.dtype for v in model.variables}, {"float32"})

    def test_a_checkpoint_is_never_held_as_a_whole(self):
        alive, most = [], 0

        def held_after_a_while():
            # JAX lets go of a host array from a thread of its own.
            for _ in range(100):
                held = sum(ref() is not None for ref in alive)
                if held <= 3:
                    break
                time.sleep(0.01)
            return held

        def watched(weights):
            nonlocal most
            for name, value in weights:
                copy = misaligned(value)
                alive.append(weakref.ref(copy))
                del value
                yield name, copy
                del copy
                most = max(most, held_after_a_while())

        load_model(Changed(watched))
        self.assertLen(alive, 20)
        # The one yielded, the one assigned before, one on its way to JAX.
        self.assertLessEqual(most, 3)

    def test_missing_weight_is_named(self):
        def drop(weights):
            return ((n, v) for n, v in weights if "block_01/mlp/up" not in n)

        with self.assertRaisesRegex(
            UserError, "lacks 1 weights, first block_01/mlp/up/kernel"
        ):
            load_model(Changed(drop))

    def test_misshapen_weight_is_named(self):
        def cut(weights):
            for name, value in weights:
                yield name, value[:-1] if name == "embedding/table" else value

        with self.assertRaisesRegex(
            UserError, r"embedding/table must have shape \(512, 64\).*511"
        ):
            load_model(Changed(cut))

    def test_weight_of_another_model_is_named(self):
        def extra(weights):
            yield "block_09/mlp/up/kernel", np.zeros((2, 2), "float32")
            yield from weights

        with self.assertRaisesRegex(UserError, "block_09/mlp/up/kernel"):
            load_model(Changed(extra))

    def test_unknown_name_is_suggested(self):
        with self.assertRaisesRegex(UserError, "tiny"):
            load_model("tinny")

    def test_group_that_does_not_divide_the_inputs(self):
        with self.assertRaisesRegex(UserError, "`group` must divide the 64"):
            load_model("tiny", precision=PrecisionConfig(group=48))
