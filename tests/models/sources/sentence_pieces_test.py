import itertools

import numpy as np

from tests.test_case import TestCase
from tfshrink.models.sources.sentence_pieces import sentence_piece_tokenizer

SPACE = "\u2581"


def _vocabulary():
    """Returns pieces and scores as SentencePiece BPE trains them."""
    pieces = ["<unk>", "<s>", "</s>"]
    pieces += [f"<0x{byte:02X}>" for byte in range(256)]
    characters = [SPACE, *"abcd"]
    merged = ["ab", SPACE + "a", "cd", "abc", "bcd", SPACE + "ab", "abcd"]
    merged += ["aa", SPACE + SPACE]
    scores = [0.0] * len(pieces)
    scores += [-1000.0 - rank for rank in range(len(characters))]
    scores += [-float(rank) for rank in range(len(merged))]
    return [*pieces, *characters, *merged], scores


def _best_pairs(text, pieces, scores):
    """Merges the neighbours of the highest score, leftmost first."""
    score = dict(zip(pieces, scores, strict=True))
    symbols = list(SPACE + text.replace(" ", SPACE))
    while True:
        pairs = [
            (score[a + b], -index)
            for index, (a, b) in enumerate(itertools.pairwise(symbols))
            if a + b in score
        ]
        if not pairs:
            return symbols
        index = -max(pairs)[1]
        symbols[index : index + 2] = [symbols[index] + symbols[index + 1]]


class SentencePiecesTest(TestCase):
    def test_matches_merging_by_score(self):
        pieces, scores = _vocabulary()
        tokenizer = sentence_piece_tokenizer(pieces, scores)
        generator = np.random.default_rng(0)
        for _ in range(200):
            text = "".join(generator.choice(list("abcd "), size=12))
            self.assertEqual(
                tokenizer.encode(text).tokens,
                _best_pairs(text, pieces, scores),
            )

    def test_bytes_stand_in_and_texts_come_back(self):
        tokenizer = sentence_piece_tokenizer(*_vocabulary())
        encoding = tokenizer.encode("ab\u00e9\n")
        self.assertEqual(
            encoding.tokens, [SPACE + "ab", "<0xC3>", "<0xA9>", "<0x0A>"]
        )
        self.assertEqual(tokenizer.decode(encoding.ids), "ab\u00e9\n")

    def test_prefix_is_optional(self):
        tokenizer = sentence_piece_tokenizer(*_vocabulary(), prefix=False)
        self.assertEqual(tokenizer.encode("ab").tokens, ["ab"])
        self.assertEqual(tokenizer.decode(tokenizer.encode(" ab").ids), " ab")
