import numpy as np

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tests.training import tiny
from tfshrink.errors import UserError
from tfshrink.models import checkpoint
from tfshrink.models.checkpoint import load_model_state
from tfshrink.models.checkpoint import load_tensors
from tfshrink.models.checkpoint import save_model
from tfshrink.models.checkpoint import save_tensors


def scrambled(**structure):
    """A tiny model whose every trained value is random, codes on the grid."""
    model = tiny.model(fit=False, **structure)
    random = np.random.default_rng(0)
    for variable in model.variables:
        name = checkpoint.variable_name(variable)
        if name.endswith("/quantizer/bank"):
            codes = random.integers(-2, 2, variable.shape)
            variable.assign(codes.astype(to_numpy(variable).dtype))
        elif any(part in f"/{name}" for part in checkpoint.TRAINED):
            variable.assign(random.normal(size=variable.shape))
    return model


class TensorsTest(TestCase):
    def setUp(self):
        super().setUp()
        self.path = self.create_tempdir().full_path + "/x.safetensors"

    def test_arrays_and_metadata_come_back(self):
        arrays = {
            "a": np.arange(6, dtype="int8").reshape(2, 3),
            "b": np.eye(3, dtype="float32")[:, ::2],  # not contiguous
            "c": np.array(5, "int64"),  # a scalar stays one
        }
        save_tensors(self.path, arrays, {"step": 7})
        tensors, metadata = load_tensors(self.path)
        self.assertAllEqual(tensors, arrays)
        self.assertEqual(tensors["c"].shape, ())
        self.assertEqual(metadata, {"step": "7"})

    def test_a_damaged_file_is_named(self):
        save_tensors(self.path, {"a": np.ones(100, "float32")})
        with open(self.path, "rb") as file:
            data = file.read()
        for broken in (b"", b"{}", data[:-7], b"\xff" * 8 + data):
            with open(self.path, "wb") as file:
                file.write(broken)
            with self.assertRaisesRegex(UserError, "x.safetensors must be"):
                load_tensors(self.path)

    def test_a_missing_file_is_named(self):
        with self.assertRaisesRegex(UserError, "must exist.*x.safetensors"):
            load_tensors(self.path)


class PackTest(TestCase):
    def test_two_codes_share_a_byte(self):
        codes = np.arange(-8, 8, dtype="int8").reshape(1, 2, 8)
        stored = checkpoint._pack(codes)
        self.assertEqual((stored.dtype, stored.size), (np.uint8, 8))
        self.assertAllEqual(checkpoint._unpack(stored, codes.shape), codes)

    def test_wide_codes_and_odd_widths_stay_bytes(self):
        for codes in (
            np.array([[[-127, 127]]], "int8"),
            np.array([[[1, -1, 0]]], "int8"),
        ):
            stored = checkpoint._pack(codes)
            self.assertEqual(stored.dtype, np.int8)
            self.assertAllEqual(checkpoint._unpack(stored, codes.shape), codes)


class ModelStateTest(TestCase):
    def setUp(self):
        super().setUp()
        self.path = self.create_tempdir().full_path + "/m.safetensors"

    def test_what_is_trained_comes_back_and_nothing_else_is_kept(self):
        model = scrambled(bank="codes", bank_widths=(4, 2))
        save_model(self.path, model, {"step": 3})
        tensors, _ = load_tensors(self.path)
        for name in tensors:
            self.assertNotRegex(name, "kernel|table")
        twin = tiny.model(fit=False, bank="codes", bank_widths=(4, 2))
        metadata = load_model_state(self.path, twin)
        self.assertEqual(metadata["step"], "3")
        for a, b in zip(model.variables, twin.variables, strict=True):
            self.assertAllEqual(to_numpy(a), to_numpy(b), a.path)

    def test_latent_codes_come_back_as_what_they_round_to(self):
        model = scrambled(bank="latent", bank_widths=(4, 2))
        bank = model.blocks[0].mlp.up.quantizer.bank
        values = to_numpy(bank).copy()
        values[0, 0, :4] = [9.0, -7.6, 2.4, -0.6]  # 4 bits: at most 7
        values[1, 0, :4] = [-2.4, 1.6, 0.4, -3.0]  # 2 bits: -2 .. 1
        bank.assign(values)
        save_model(self.path, model)
        twin = tiny.model(fit=False, bank="codes", bank_widths=(4, 2))
        load_model_state(self.path, twin)
        codes = to_numpy(twin.blocks[0].mlp.up.quantizer.bank)
        self.assertAllEqual(codes[0, 0, :4], [7, -7, 2, -1])
        self.assertAllEqual(codes[1, 0, :4], [-2, 1, 0, -2])

    def test_a_foreign_file_is_named(self):
        save_model(self.path, tiny.model(fit=False, ranks=()))
        with self.assertRaisesRegex(UserError, "m.safetensors must hold"):
            load_model_state(self.path, tiny.model(fit=False))

    def test_another_rank_is_named(self):
        save_model(self.path, tiny.model(fit=False, ranks=(2, 2, 2)))
        with self.assertRaisesRegex(UserError, "m.safetensors.*shape"):
            load_model_state(self.path, tiny.model(fit=False))
