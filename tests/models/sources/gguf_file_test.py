import os
import pathlib
import tracemalloc

import numpy as np
import pytest
from absl.testing import parameterized
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType
from gguf import quants

from tests.models.sources.gguf_files import interleave
from tests.models.sources.gguf_files import write_gguf
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.models.sources import gguf_file
from tfshrink.models.sources import open_source
from tfshrink.models.sources.byte_level import byte_letters

_WORDS = ["<|a|>", "<|b|>", "<user>", *byte_letters(), "\u0120t"]


def _tokenizer(writer, pre="smollm", merges=("\u0120 t",), words=None):
    words = words or _WORDS
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(words)
    writer.add_token_types([3, 3, 4] + [1] * (len(words) - 3))
    writer.add_token_merges(list(merges))
    writer.add_chat_template("{{ messages }}")
    writer.add_vocab_size(len(words))


class GGUFSourceTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.path = self.folder / "model.gguf"
        self.twin = self.folder / "hf"

    def _write(self, case="llama_tied_gqa", **options):
        write_gguf(self.path, case, self.twin, **options)
        return gguf_file.GGUFSource(self.path)

    @parameterized.parameters(
        "gpt2",
        "gpt2_untied",
        "llama",
        "llama_biases",
        "llama_single_kv_head",
        "llama_wide_heads",
        "llama_rope_linear",
    )
    def test_equals_its_hugging_face_twin(self, case):
        source = self._write(case)
        twin = open_source(self.twin)
        ours, theirs = source.config.to_json(), twin.config.to_json()
        for config in (ours, theirs):
            config.pop("name")
        if case == "gpt2_untied":  # GGUF keeps no activation function
            theirs["activation"] = "gelu_tanh"
        self.assertEqual(ours, theirs)
        expected = dict(twin.weights())
        received = dict(source.weights())
        self.assertEqual(list(received), list(expected))
        for name, array in received.items():
            np.testing.assert_array_equal(array, expected[name], name)
            self.assertEqual(array.dtype, np.float32)

    @parameterized.parameters("F16", "BF16", "Q8_0", "Q4_1")
    def test_dequantizes_as_the_gguf_package(self, kind):
        source = self._write(kind=kind)
        received = dict(source.weights())
        for name, array in open_source(self.twin).weights():
            kernel = name.endswith("kernel")
            rows = array.T if kernel else array
            kind_id = GGMLQuantizationType[kind]
            block = GGML_QUANT_SIZES[kind_id][0]
            if array.ndim == 2 and rows.shape[-1] % block == 0:
                rows = quants.quantize(np.ascontiguousarray(rows), kind_id)
                rows = quants.dequantize(rows, kind_id)
                array = rows.T if kernel else rows
            np.testing.assert_array_equal(received[name], array, name)

    def test_restore_undoes_interleave(self):
        rows = np.arange(24.0).reshape(12, 2)
        turned = interleave(rows, 3)
        self.assertEqual(list(turned[:4, 0]), [0, 4, 2, 6])  # by hand
        np.testing.assert_array_equal(
            gguf_file.restore_rope_rows(turned, 3), rows
        )

    def test_llama3_factors_become_a_scaling(self):
        # The rule of Llama 3.1, wave by wave.
        factors = []
        for frequency in 500000.0 ** -(np.arange(0, 8, 2) / 8):
            length, smooth = 2 * np.pi / frequency, 1
            if length > 8192 / 4:
                smooth = max((8192 / length - 1) / 3, 0)
            factors.append(1 / ((1 - smooth) / 32 + smooth))
        factors = np.array(factors, np.float32)
        self.assertEqual(list(factors > 1), [False, False, True, True])
        tensors = {"rope_freqs.weight": factors}
        source = self._write(theta=500000.0, tensors=tensors)
        self.assertEqual(
            source.config.rope_scaling,
            {
                "type": "llama3",
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_context": 8192,
            },
        )
        source = self._write(theta=10000.0, tensors=tensors)
        with self.assertRaisesRegex(UserError, "rope_freqs.weight"):
            _ = source.config

    def test_one_tensor_at_a_time_and_nothing_left_open(self):
        source = self._write("gpt2")
        largest = max(a.nbytes for _, a in source.weights())
        total = sum(a.nbytes for _, a in source.weights())
        self.assertGreater(total, 6 * largest)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        for _ in source.weights():
            pass
        peak = tracemalloc.get_traced_memory()[1] - before
        self.assertLess(peak, 4 * largest + 20_000)
        if os.path.exists("/proc/self/maps"):
            maps = pathlib.Path("/proc/self/maps").read_text()
            self.assertNotIn(str(self.path), maps)

    def test_identity_is_the_hash_of_the_content(self):
        first = self._write().identity
        self.assertEqual(first["name"], "model")
        data = bytearray(self.path.read_bytes())
        data[-1] ^= 1
        self.path.write_bytes(data)
        second = gguf_file.GGUFSource(self.path).identity
        self.assertNotEqual(first["sha256"], second["sha256"])

    def test_truncation_and_nan_are_user_errors(self):
        source = self._write()
        data = self.path.read_bytes()
        self.assertGreater(len(dict(source.weights())), 10)
        self.path.write_bytes(data[:-64])  # after the header was read
        with self.assertRaisesRegex(UserError, "model.gguf.*truncated"):
            dict(source.weights())
        tensor = source.header.tensors["output_norm.weight"]
        damaged = bytearray(data)
        damaged[tensor.offset : tensor.offset + 4] = b"\xff\xff\xff\xff"
        self.path.write_bytes(damaged)
        with self.assertRaisesRegex(UserError, "final_norm/scale.*finite"):
            dict(gguf_file.GGUFSource(self.path).weights())

    def test_a_damaged_file_is_read_or_refused(self):
        self._write(edit=lambda writer: _tokenizer(writer))
        data = self.path.read_bytes()
        generator = np.random.default_rng(0)
        for _ in range(100):
            damaged = bytearray(data)
            for position in generator.integers(0, 9000, size=3):
                damaged[position] = generator.integers(256)
            self.path.write_bytes(damaged)
            source = gguf_file.GGUFSource(self.path)
            try:
                for _ in source.weights():
                    pass
                source.tokenizer()
            except UserError as error:
                self.assertIn("model.gguf", str(error))

    def test_features_that_are_not_supported(self):
        cases = {
            "experts": lambda writer: writer.add_expert_count(4),
            "rope.scaling.type": lambda writer: writer.add_string(
                "llama.rope.scaling.type", "yarn"
            ),
            "rope.dimension_count": lambda writer: (
                writer.add_rope_dimension_count(4)
            ),
        }
        for message, edit in cases.items():
            with self.assertRaisesRegex(UserError, f"model.gguf.*{message}"):
                _ = self._write(edit=edit).config

    def test_unknown_architecture_names_the_known(self):
        self._write()
        data = self.path.read_bytes().replace(b"llama", b"lhama")
        self.path.write_bytes(data)
        with self.assertRaisesRegex(UserError, "gpt2, llama.*'lhama'"):
            _ = gguf_file.GGUFSource(self.path).config

    def test_missing_tensor_is_named(self):
        self._write()
        data = self.path.read_bytes()
        data = data.replace(b"blk.0.ffn_up.weight", b"blk.0.ffn_xx.weight")
        self.path.write_bytes(data)
        with self.assertRaisesRegex(UserError, "blk.0.ffn_up.weight"):
            dict(gguf_file.GGUFSource(self.path).weights())

    def test_tokenizer_from_metadata(self):
        # The table has 61 rows: bytes up to 6, then what the merge needs.
        words = [*_WORDS[:58], "t", "\u0120", "\u0120t"]
        tokenizer = self._write(
            edit=lambda writer: _tokenizer(writer, words=words)
        ).tokenizer()
        self.assertEqual(tokenizer("12 t<|b|>")["input_ids"], [52, 53, 60, 1])
        self.assertEqual(tokenizer.decode([52, 53, 60, 2]), "12 t<user>")
        self.assertEqual(tokenizer.bos_token, "<|b|>")
        self.assertEqual(tokenizer.eos_token, "<user>")
        self.assertEqual(tokenizer.pad_token, "<user>")
        self.assertEqual(tokenizer.chat_template, "{{ messages }}")
        self.assertEqual(tokenizer.model_max_length, 48)
        self.assertEqual(
            tokenizer.decode(
                tokenizer("1<|b|>2")["input_ids"], skip_special_tokens=True
            ),
            "12",
        )

    def test_tokenizers_that_do_not_fit(self):
        words = _WORDS[:61]
        for message, options in (
            ("must have 61 entries", {"words": words[:-1]}),
            ("merges", {"words": words, "merges": ["a b c"]}),
            ("merges", {"words": words, "merges": ["\u0120 qqq"]}),
            ("tokenizer.ggml.pre", {"words": words, "pre": "smolm"}),
        ):
            source = self._write(
                edit=lambda writer, o=options: _tokenizer(writer, **o)
            )
            with self.assertRaisesRegex(UserError, f"model.gguf.*{message}"):
                source.tokenizer()

    @pytest.mark.smollm2
    def test_real_smollm2_stands_in_the_order_of_hugging_face(self):
        source = open_source("smollm2-135m")
        self.assertEqual(source.config.eos, (2,))
        weights = source.weights()
        total = sum(array.size for _, array in weights)
        self.assertEqual(total, 134_515_008)
        chat = source.tokenizer().chat_template
        self.assertIn("SmolLM", chat)
