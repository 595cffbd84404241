from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.models.detokenize import text_pieces
from tfshrink.models.detokenize import until
from tfshrink.models.sources import open_source

TEXTS = (
    "plain words, and  two spaces\n\n\tand lines",
    "în română: ș, ț, ă; 日本語; emoji 👩‍👩‍👧 and 🇷🇴",
    " leading space",
    "",
)


class DetokenizeTest(TestCase):
    def setUp(self):
        super().setUp()
        self.tokenizer = open_source("tiny").tokenizer()

    @parameterized.parameters(*TEXTS)
    def test_pieces_add_up_and_break_no_character(self, text):
        tokens = self.tokenizer(text)["input_ids"]
        pieces = list(text_pieces(tokens, self.tokenizer))
        self.assertEqual("".join(pieces), text)
        for piece in pieces:
            self.assertNotIn("\ufffd", piece)

    def test_a_piece_comes_with_its_token(self):
        tokens = iter(self.tokenizer("some words here")["input_ids"])
        pieces = text_pieces(tokens, self.tokenizer)
        next(pieces)
        self.assertNotEmpty(list(tokens))

    def test_broken_bytes_end_as_decoding_at_once_ends_them(self):
        euro = self.tokenizer("€")["input_ids"]
        for tokens in (euro[:2], [*euro[:1], *euro], euro[:1] * 20):
            pieces = text_pieces(tokens, self.tokenizer)
            self.assertEqual("".join(pieces), self.tokenizer.decode(tokens))

    def test_special_tokens_are_left_out(self):
        tokens = self.tokenizer("a<|im_end|>b")["input_ids"]
        pieces = text_pieces(tokens, self.tokenizer)
        self.assertEqual("".join(pieces), "ab")

    @parameterized.parameters(
        (["ab", "cd", "ef"], [], ["ab", "cd", "ef"]),
        (["ab", "cd", "ef"], ["de"], ["ab", "c"]),
        (["ab", "cd", "ef"], ["dx"], ["ab", "c", "def"]),
        (["abcdef"], ["cd", "b"], ["a"]),
        (["a", "b", "c"], ["abc"], []),
        (["a", "b", "c"], ["abcd"], ["abc"]),
        (["a", "a", "a", "b"], ["aab"], ["a"]),
        (["x"], [""], ["x"]),
    )
    def test_until_matches_a_table(self, pieces, stops, expected):
        found = list(until(pieces, stops))
        self.assertEqual("".join(found), "".join(expected))
        self.assertNotIn("", found)
