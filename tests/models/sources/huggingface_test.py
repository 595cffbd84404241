import json
import pathlib
import tracemalloc

import ml_dtypes
import numpy as np
from absl.testing import parameterized
from safetensors.numpy import load_file
from safetensors.numpy import save_file

from tests.golden import random_checkpoints
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.models.sources import open_source
from tfshrink.models.sources.byte_level import byte_letters
from tfshrink.models.sources.byte_level import byte_level_tokenizer
from tfshrink.models.sources.huggingface import HuggingFaceSource
from tfshrink.models.sources.huggingface_config import config_from_huggingface


class HuggingFaceSourceTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.file = self.folder / "model.safetensors"

    def _write(self, case="llama_tied_gqa", **options):
        random_checkpoints.write_checkpoint(self.folder, case, **options)
        return HuggingFaceSource(self.folder)

    def _edit_config(self, **values):
        path = self.folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    def _edit_tensors(self, edit):
        tensors = load_file(self.file)
        edit(tensors)
        save_file(tensors, self.file)

    def test_gpt2_tensors_by_hand(self):
        weights = dict(self._write("gpt2_untied").weights())
        stored = load_file(self.file)
        fused = stored["transformer.h.1.attn.c_attn.weight"]
        bias = stored["transformer.h.1.attn.c_attn.bias"]
        parts = ("query", "key", "value")
        for index, part in enumerate(parts):
            columns = slice(32 * index, 32 * index + 32)
            np.testing.assert_array_equal(
                weights[f"block_01/attention/{part}/kernel"], fused[:, columns]
            )
            np.testing.assert_array_equal(
                weights[f"block_01/attention/{part}/bias"], bias[columns]
            )
        np.testing.assert_array_equal(
            weights["head/kernel"], stored["lm_head.weight"].T
        )

    def test_llama_tensors_by_hand(self):
        weights = dict(self._write("llama").weights())
        stored = load_file(self.file)
        np.testing.assert_array_equal(
            weights["block_00/mlp/down/kernel"],
            stored["model.layers.0.mlp.down_proj.weight"].T,
        )
        np.testing.assert_array_equal(
            weights["embedding/table"], stored["model.embed_tokens.weight"]
        )

    def test_shards_equal_one_file(self):
        expected = dict(self._write().weights())
        self.file.unlink()
        received = dict(self._write(shards=3).weights())
        self.assertEqual(list(received), list(expected))
        for name, array in received.items():
            np.testing.assert_array_equal(array, expected[name])

    def test_gpt2_names_without_prefix(self):
        source = self._write("gpt2")
        expected = dict(source.weights())

        def edit(tensors):
            for name in list(tensors):
                tensors[name.removeprefix("transformer.")] = tensors.pop(name)
            # What the oldest files hold besides.
            tensors["h.0.attn.bias"] = np.ones((1, 1, 4, 4), np.float32)

        self._edit_tensors(edit)
        for name, array in source.weights():
            np.testing.assert_array_equal(array, expected[name])

    @parameterized.parameters("bfloat16", "float16", "float64")
    def test_other_types_become_float32(self, kind):
        source = self._write()
        expected = dict(source.weights())
        dtype = np.dtype(getattr(ml_dtypes, kind, kind))

        def edit(tensors):
            for name, array in tensors.items():
                tensors[name] = array.astype(dtype)

        self._edit_tensors(edit)
        for name, array in source.weights():
            self.assertEqual(array.dtype, np.float32)
            np.testing.assert_array_equal(
                array, expected[name].astype(dtype).astype(np.float32)
            )

    def test_one_tensor_at_a_time(self):
        source = self._write("gpt2", shards=2)
        sizes = [array.nbytes for _, array in source.weights()]
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        for _ in source.weights():
            pass
        peak = tracemalloc.get_traced_memory()[1] - before
        self.assertLess(peak, 4 * max(sizes) + 30_000)

    def test_integer_weights_are_refused(self):
        source = self._write()

        def edit(tensors):
            name = "model.layers.0.mlp.up_proj.weight"
            tensors[name] = tensors[name].astype(np.int8)

        self._edit_tensors(edit)
        with self.assertRaisesRegex(UserError, "up_proj.*BF16.*I8"):
            dict(source.weights())

    def test_missing_and_misshapen_tensors(self):
        source = self._write()
        name = "model.layers.1.self_attn.k_proj.weight"
        self._edit_tensors(lambda tensors: tensors.update({name: np.ones(3)}))
        with self.assertRaisesRegex(
            UserError, r"model.safetensors.*k_proj.*\(32, 16\).*\(3,\)"
        ):
            dict(source.weights())
        self._edit_tensors(lambda tensors: tensors.pop(name))
        with self.assertRaisesRegex(UserError, f"expected a tensor `{name}`"):
            dict(source.weights())

    def test_misshapen_fused_projection(self):
        source = self._write("gpt2")
        name = "transformer.h.0.attn.c_attn.weight"
        self._edit_tensors(
            lambda tensors: tensors.update({name: np.ones((32, 95))})
        )
        with self.assertRaisesRegex(UserError, "c_attn.*96"):
            dict(source.weights())

    @parameterized.parameters(0, 4, 100, 2000, -1)
    def test_truncated_safetensors(self, end):
        source = self._write()
        self.file.write_bytes(self.file.read_bytes()[:end])
        with self.assertRaisesRegex(
            UserError, "model.safetensors: expected a complete"
        ):
            dict(source.weights())

    def test_truncated_config(self):
        source = self._write()
        config = self.folder / "config.json"
        config.write_text(config.read_text()[:50])
        with self.assertRaisesRegex(UserError, "config.json: expected JSON"):
            _ = source.config

    def test_missing_shard_and_shard_elsewhere(self):
        source = self._write(shards=2)
        index = self.folder / "model.safetensors.index.json"
        (self.folder / "model-00002-of-00002.safetensors").unlink()
        with self.assertRaisesRegex(UserError, "00002-of-00002.*expected"):
            dict(source.weights())
        index.write_text('{"weight_map": {"a": "../secret.safetensors"}}')
        with self.assertRaisesRegex(UserError, "same folder"):
            dict(source.weights())

    @parameterized.parameters(
        "pytorch_model.bin", "model.pt", "model.pth", "weights.pkl"
    )
    def test_pickles_are_refused(self, name):
        source = self._write()
        self.file.unlink()
        (self.folder / name).write_bytes(b"\x80\x04.")
        for use in (lambda: dict(source.weights()), lambda: source.identity):
            with self.assertRaisesRegex(UserError, f"{name}.*run any code"):
                use()
        with self.assertRaisesRegex(UserError, f"{name}.*run any code"):
            open_source(self.folder / name)

    def test_no_weights_at_all(self):
        source = self._write()
        self.file.unlink()
        with self.assertRaisesRegex(UserError, "expected model.safetensors"):
            dict(source.weights())

    def test_identity_follows_the_content(self):
        source = self._write()
        first = source.identity
        self.assertEqual(first["name"], self.folder.name)
        self._edit_config(rms_norm_eps=1e-6)
        second = HuggingFaceSource(self.folder).identity
        self.assertNotEqual(first["sha256"], second["sha256"])
        hub = HuggingFaceSource(self.folder, name="a/b", revision="c0ffee")
        self.assertEqual(hub.identity, {"name": "a/b", "revision": "c0ffee"})

    def test_weights_are_fetched_only_when_read(self):
        self._write()
        calls = []
        source = HuggingFaceSource(
            self.folder, fetch_weights=lambda: calls.append(1)
        )
        self.assertEqual(source.config.width, 32)
        self.assertEmpty(calls)
        next(source.weights())
        self.assertLen(calls, 1)

    def test_tokenizer_json_is_taken_as_it_is(self):
        source = self._write()
        words = ["<|a|>", "<s>", "</s>", *byte_letters()]
        tokenizer = byte_level_tokenizer(words, [], split="smollm")
        tokenizer.save(str(self.folder / "tokenizer.json"))
        (self.folder / "tokenizer_config.json").write_text(
            json.dumps(
                {
                    "tokenizer_class": "LlamaTokenizerFast",
                    "chat_template": "{{ messages }}",
                    "eos_token": "</s>",
                }
            )
        )
        loaded = source.tokenizer()
        self.assertEqual(loaded("a 12")["input_ids"], [100, 35, 52, 53])
        self.assertEqual(loaded.eos_token, "</s>")
        self.assertEqual(loaded.bos_token, "<s>")  # from config.json
        self.assertEqual(loaded.pad_token, "</s>")
        self.assertEqual(loaded.chat_template, "{{ messages }}")

    def test_no_tokenizer_is_a_user_error(self):
        source = self._write()
        with self.assertRaisesRegex(UserError, "tokenizer.json") as caught:
            source.tokenizer()
        self.assertNotIn("\n", str(caught.exception))

    def test_vocabulary_and_merges_without_tokenizer_json(self):
        source = self._write("gpt2")
        words = ["<|endoftext|>", *byte_letters(), "ab"]
        (self.folder / "vocab.json").write_text(
            json.dumps({word: index for index, word in enumerate(words)})
        )
        (self.folder / "merges.txt").write_text("#version: 0.2\na b\n")
        loaded = source.tokenizer()
        self.assertEqual(loaded("ab c")["input_ids"], [257, 33, 100])
        self.assertEqual(loaded.eos_token, "<|endoftext|>")


class ConfigFromHuggingFaceTest(TestCase):
    def _config(self, case="llama", generation=None, **values):
        values = random_checkpoints.CASES[case] | values
        return config_from_huggingface(values, "n", "c.json", generation)

    def test_rope_of_transformers_4_and_5(self):
        rope = random_checkpoints.CASES["llama_rope_llama3"]["rope_parameters"]
        old = {k: v for k, v in rope.items() if k != "rope_theta"}
        for config in (
            self._config(rope_parameters=rope, rope_theta=None),
            self._config(rope_scaling=old, rope_theta=500.0),
        ):
            self.assertEqual(config.rope_theta, 500.0)
            self.assertEqual(
                config.rope_scaling,
                {
                    "type": "llama3",
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_context": 16,
                },
            )
        config = self._config(
            rope_parameters={"rope_type": "default", "rope_theta": 7.0}
        )
        self.assertEqual((config.rope_theta, config.rope_scaling), (7.0, None))
        self.assertIsNone(self._config(rope_scaling=None).rope_scaling)

    def test_defaults_of_a_sparse_config(self):
        values = dict(random_checkpoints.CASES["llama"])
        for key in ("num_key_value_heads", "rms_norm_eps", "rope_theta"):
            values.pop(key)
        config = config_from_huggingface(values, "n", "c.json")
        self.assertEqual(config.kv_heads, 4)
        self.assertEqual(config.norm_epsilon, 1e-6)
        self.assertEqual(config.rope_theta, 10000.0)
        self.assertFalse(config.tied)
        self.assertTrue(self._config("gpt2").tied)

    def test_stop_tokens(self):
        self.assertEqual(self._config(eos_token_id=[3, 4]).eos, (3, 4))
        config = self._config(generation={"eos_token_id": [5, 2]})
        self.assertEqual(config.eos, (5, 2))
        self.assertEqual(self._config(eos_token_id=None).eos, ())

    def test_values_that_are_refused(self):
        for message, values in (
            ("gpt2, llama.*'mistral'", {"model_type": "mistral"}),
            ("gpt2, llama.*None", {"model_type": None}),
            ("quantization_config", {"quantization_config": {"bits": 4}}),
            ("rope_type.*yarn", {"rope_scaling": {"rope_type": "yarn"}}),
            ("factor", {"rope_scaling": {"rope_type": "linear"}}),
            ("activation", {"hidden_act": "mish"}),
            ("`num_hidden_layers`.*-1", {"num_hidden_layers": -1}),
            ("`hidden_size`.*'32'", {"hidden_size": "32"}),
            ("divide", {"num_key_value_heads": 3}),
            ("even", {"head_dim": 5}),
            ("below the vocabulary", {"eos_token_id": 61}),
            ("usual types", {"rms_norm_eps": [1]}),
            ("usual types", {"rope_parameters": "x"}),
        ):
            with self.assertRaisesRegex(UserError, f"c.json.*({message})"):
                self._config(**values)
        values = dict(random_checkpoints.CASES["llama"])
        values.pop("hidden_size")
        with self.assertRaisesRegex(UserError, "c.json.*hidden_size"):
            config_from_huggingface(values, "n", "c.json")
        with self.assertRaisesRegex(UserError, "inverse_layer_idx"):
            self._config("gpt2", scale_attn_by_inverse_layer_idx=True)
