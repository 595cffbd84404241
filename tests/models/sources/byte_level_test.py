import tokenizers
from absl.testing import parameterized
from tokenizers import pre_tokenizers

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.models.sources import byte_level

TEXT = (
    "It's 12345  items;\n\n\tna\u00efve \u2603, they'LL don't "
    "\u00b2\u0663x9 \r\n  end   "
)


def _pieces(split):
    letters = byte_level.byte_letters()
    tokenizer = byte_level.byte_level_tokenizer(letters, [], split=split)
    return tokenizer.pre_tokenizer.pre_tokenize_str(TEXT)


class ByteLevelTest(TestCase):
    def test_letters_match_the_tokenizers_library(self):
        letters = byte_level.byte_letters()
        self.assertLen(set(letters), 256)
        self.assertEqual(set(letters), set(pre_tokenizers.ByteLevel.alphabet()))
        encode = pre_tokenizers.ByteLevel(
            add_prefix_space=False, use_regex=False
        )
        for character in (" ", "\n", "a", "\u00e9", "\u2603", "\x00", "\x7f"):
            expected = encode.pre_tokenize_str(character)[0][0]
            received = [letters[byte] for byte in character.encode()]
            self.assertEqual("".join(received), expected)

    def test_gpt2_split_matches_the_tokenizers_library(self):
        expected = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.assertEqual(_pieces("gpt2"), expected.pre_tokenize_str(TEXT))

    def test_smollm_split_matches_the_tokenizers_library(self):
        expected = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        self.assertEqual(_pieces("smollm"), expected.pre_tokenize_str(TEXT))

    def test_llama3_takes_digits_by_three_and_endings_in_any_case(self):
        words = [word for word, _ in _pieces("llama-bpe")]
        self.assertEqual(words[:5], ["It", "'s", "\u0120", "123", "45"])
        self.assertIn("'LL", words)

    def test_default_split_takes_digits_by_three(self):
        words = [word for word, _ in _pieces("default")]
        self.assertEqual(words[4:6], ["123", "45"])

    @parameterized.parameters("gpt2", "smollm", "llama-bpe", "default")
    def test_any_text_comes_back(self, split):
        letters = byte_level.byte_letters()
        tokenizer = byte_level.byte_level_tokenizer(letters, [], split=split)
        wrapped = byte_level.fast_tokenizer(tokenizer, context=8)
        tokens = wrapped(TEXT)["input_ids"]
        self.assertEqual(tokens, list(TEXT.encode()))  # id = byte here
        self.assertEqual(wrapped.decode(tokens), TEXT)

    def test_start_token_is_put_in_front(self):
        tokenizer = byte_level.byte_level_tokenizer(
            [*byte_level.byte_letters(), "<s>"], []
        )
        byte_level.add_start_token(tokenizer, "<s>")
        self.assertEqual(tokenizer.encode("a").ids, [256, 97])
        self.assertEqual(
            tokenizer.encode("a", add_special_tokens=False).ids, [97]
        )

    def test_merges_go_by_rank(self):
        tokens = [*byte_level.byte_letters(), "ab", "bc", "abc"]
        merges = [("b", "c"), ("a", "b"), ("a", "bc")]
        tokenizer = byte_level.byte_level_tokenizer(tokens, merges)
        self.assertEqual(tokenizer.encode("abc").tokens, ["abc"])
        self.assertEqual(tokenizer.encode("abb").tokens, ["ab", "b"])

    def test_unknown_split_and_bad_merges(self):
        letters = byte_level.byte_letters()
        with self.assertRaisesRegex(UserError, "Did you mean `smollm`"):
            byte_level.byte_level_tokenizer(letters, [], split="smolm")
        with self.assertRaisesRegex(UserError, "merges"):
            byte_level.byte_level_tokenizer(letters, [("a", "zz")])

    def test_result_is_a_tokenizers_tokenizer(self):
        tokenizer = byte_level.byte_level_tokenizer(["a"], [])
        self.assertIsInstance(tokenizer, tokenizers.Tokenizer)
