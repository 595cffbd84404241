import numpy as np
import pytest
from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.models.sources import open_source
from tfshrink.models.sources.tiny import TinySource
from tfshrink.models.sources.weight_names import weight_shapes


class TinyTest(TestCase):
    @parameterized.parameters("tiny", "tiny-gpt2")
    def test_shapes_and_reproducibility(self, name):
        source = open_source(name)
        first, second = dict(source.weights()), dict(source.weights())
        shapes = {name: array.shape for name, array in first.items()}
        self.assertEqual(shapes, weight_shapes(source.config))
        other = dict(TinySource(name, seed=1).weights())
        for name, array in first.items():
            self.assertEqual(array.dtype, np.float32)
            np.testing.assert_array_equal(array, second[name])
            self.assertGreater(np.abs(array - other[name]).max(), 0)

    def test_groups_of_64_divide_every_kernel(self):
        for name, array in open_source("tiny").weights():
            if name.endswith("kernel"):
                self.assertEqual(array.shape[0] % 64, 0)

    def test_tokenizer_covers_the_vocabulary(self):
        source = open_source("tiny")
        tokenizer = source.tokenizer()
        self.assertLen(tokenizer, source.config.vocabulary)
        self.assertLen(set(tokenizer.get_vocab().values()), 512)
        text = "Hello  na\u00efve \u2603 1234\n\n\tend\x00 "
        self.assertEqual(tokenizer.decode(tokenizer(text)["input_ids"]), text)
        tokens = tokenizer("the<|im_end|>")["input_ids"]
        self.assertEqual(tokens[-1], source.config.eos[0])
        self.assertLess(len(tokens), 4)

    def test_special_tokens(self):
        source = open_source("tiny")
        tokenizer = source.tokenizer()
        self.assertEqual(tokenizer.bos_token_id, source.config.bos)
        self.assertEqual((tokenizer.eos_token_id,), source.config.eos)
        self.assertIsNotNone(tokenizer.pad_token_id)

    def test_chat_template(self):
        pytest.importorskip("jinja2")  # transformers renders with it
        tokenizer = open_source("tiny").tokenizer()
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": "Hi"}],
            tokenize=False,
            add_generation_prompt=True,
        )
        self.assertEqual(
            text, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        )
