import csv
import os
from unittest import mock

import numpy as np
from absl.testing import parameterized

from tests.data.pack_test import Characters
from tests.test_case import TestCase
from tfshrink.data import prompts as prompts_lib
from tfshrink.data.partition import text_identity
from tfshrink.data.prompts import load_prompts
from tfshrink.data.pydoc import load_pydoc
from tfshrink.data.records import append_records
from tfshrink.errors import UserError


def documents(*lengths):
    """Texts of which no letter is in another, or twice in one."""
    letters = map(chr, range(0x4E00, 0x9000))
    return ["".join(next(letters) for _ in range(n)) for n in lengths]


def rows_of(found):
    """The text of every prompt."""
    pairs = zip(found.tokens, found.lengths, strict=True)
    return ["".join(map(chr, row[:length])) for row, length in pairs]


class PromptsTest(TestCase):
    def given(self, **texts):
        """Lets these be the texts of data sets by name."""
        self.enter_context(
            mock.patch.object(
                prompts_lib,
                "load_documents",
                side_effect=lambda name, split: texts[name],
            )
        )

    def load(self, data="news", split="test", **options):
        return load_prompts(data, Characters(), split=split, **options)

    def test_documents_are_cut_by_hand(self):
        texts = documents(100, 20, 15, 64, 70)
        self.given(news=texts)
        found = self.load(count=99, length=32)
        # What is left of a document is a row if it has 16 tokens.
        wanted = [
            *(texts[0][start : start + 32] for start in (0, 32, 64)),
            texts[1],
            *(texts[3][start : start + 32] for start in (0, 32)),
            *(texts[4][start : start + 32] for start in (0, 32)),
        ]
        self.assertLen(found, 8)
        self.assertAllEqual(found.lengths, [32, 32, 32, 20, 32, 32, 32, 32])
        self.assertEqual(rows_of(found), wanted)
        self.assertAllEqual(found.tokens[3, 20:], np.zeros(12))
        self.assertAllEqual(found.gold, np.full((8, 32), -1))
        for array in (found.tokens, found.lengths, found.gold):
            self.assertEqual(array.dtype, np.int32)
        self.assertEqual(found.names, ("news",) * 8)

    def test_no_token_is_in_two_rows(self):
        self.given(news=documents(333, 64, 200))
        found = self.load(count=9, length=48)
        self.assertLen(found, 9)
        tokens = found.tokens[found.mask]
        self.assertLen(tokens, int(found.lengths.sum()))
        self.assertLen(set(tokens.tolist()), len(tokens))

    @parameterized.parameters(
        (1, [0]),
        (2, [0, 9]),
        (4, [0, 3, 6, 9]),
        (7, [0, 2, 3, 4, 6, 8, 9]),  # 1.5, 3, 4.5, 6, 7.5, a half to even
        (10, range(10)),
        (11, range(10)),
    )
    def test_prompts_are_taken_at_equal_distances(self, count, wanted):
        (text,) = documents(320)
        self.given(news=[text])
        found = self.load(count=count, length=32)
        firsts = [ord(text[32 * row]) for row in wanted]
        self.assertAllEqual(found.tokens[:, 0], firsts)

    @parameterized.parameters((64, 32), (33, 32), (32, 32), (24, 24), (20, 20))
    def test_rows_are_no_wider_than_they_must_be(self, length, width):
        self.given(news=documents(20, 17))
        found = self.load(length=length)
        # In steps of 16, up to `length`.
        self.assertEqual(found.tokens.shape, (2, width))
        self.assertAllEqual(found.mask.sum(1), [20, 17])

    def test_mask_is_where_tokens_are(self):
        self.given(news=documents(40, 25))
        found = self.load(length=40)
        self.assertAllEqual(found.mask, found.tokens > 0)
        self.assertEqual(found.mask.dtype, bool)
        self.assertAllEqual(found.mask.sum(1), found.lengths)

    def test_rows_can_be_picked(self):
        self.given(news=documents(20, 30, 40))
        found = self.load()
        for rows in (slice(1, 3), np.array([2, 0]), found.lengths > 25):
            some = found[rows]
            self.assertLen(some, 2)
            self.assertAllEqual(some.tokens, found.tokens[rows])
            self.assertAllEqual(some.lengths, found.lengths[rows])
            self.assertAllEqual(some.gold, found.gold[rows])
            self.assertEqual(some.names, ("news",) * 2)
            self.assertEqual(some.identity, found.identity)

    def test_identity_is_of_all_that_was_read(self):
        texts = documents(40, 30)
        self.given(news=texts)
        self.assertEqual(self.load(count=1).identity, text_identity(texts))

    def test_several_texts_share_the_count(self):
        long, short, other = documents(640, 40, 320)
        self.given(long=[long], short=[short], other=[other])
        found = self.load("long + other", count=5, length=32)
        self.assertEqual(found.names, ("long",) * 3 + ("other",) * 2)
        for name, count, rows in (
            ("long", 3, slice(0, 3)),
            ("other", 2, slice(3, 5)),
        ):
            alone = self.load(name, count=count, length=32)
            self.assertAllEqual(found.tokens[rows], alone.tokens)
        # A short one does not have its share.
        found = self.load("short+long+other", count=9, length=32)
        wanted = ("short",) + ("long",) * 3 + ("other",) * 3
        self.assertEqual(found.names, wanted)
        self.assertEqual(found.identity, text_identity([short, long, other]))

    @parameterized.parameters(
        ({"count": 0}, "`prompts` must be at least 1. Received: 0"),
        ({"count": -3}, "`prompts` must be at least 1. Received: -3"),
        ({"length": 15}, "`tokens` must be at least 16. Received: 15"),
    )
    def test_too_few_are_refused(self, options, message):
        with self.assertRaisesRegex(UserError, message):
            self.load("pydoc", **options)

    def test_a_text_without_a_prompt_is_named(self):
        self.given(news=documents(32), brief=documents(15, 3))
        with self.assertRaisesRegex(
            UserError, r"16 tokens or more. Received: brief \(test\), 2 shorter"
        ):
            self.load("news+brief")

    def test_unknown_texts_and_splits(self):
        for data in ("", "pydoc+"):
            with self.assertRaisesRegex(UserError, "`data` must be a name"):
                self.load(data)
        with self.assertRaisesRegex(UserError, "none.txt: No such file"):
            self.load("pydoc+none.txt")
        with self.assertRaisesRegex(UserError, "Did you mean `search`"):
            self.load("pydoc", "serch")


class SplitsTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path

    def load(self, data, **options):
        """Prompts of the three splits."""
        splits = "search", "calibrate", "test"
        return [
            load_prompts(data, Characters(), split=split, **options)
            for split in splits
        ]

    def test_splits_of_a_text_share_nothing(self):
        parts = self.load("pydoc", count=64, length=32)
        again = self.load("pydoc", count=64, length=32)
        texts = [set(rows_of(part)) for part in parts]
        self.assertLen(set.union(*texts), sum(map(len, texts)))
        self.assertLen({part.identity for part in parts}, 3)
        for part, other in zip(parts, again, strict=True):
            self.assertLen(part, 64)
            self.assertAllEqual(part.tokens, other.tokens)
        whole = "".join(load_pydoc("search"))
        for text in texts[0]:
            self.assertTrue(text in whole, text)

    def test_passages_of_a_file_are_divided(self):
        path = os.path.join(self.folder, "book.jsonl")
        texts = documents(9000, 100, 5000)
        append_records(path, [{"text": text} for text in texts])
        parts = self.load(path, count=999, length=64)
        wanted = [
            text[start : start + 64]
            for text in texts
            for start in range(0, len(text), 64)
        ]
        # The ends of the texts fill 40, 36 and 8 tokens: the last is no row.
        self.assertCountEqual(sum(map(rows_of, parts), []), wanted[:-1])
        for part in parts:
            self.assertGreater(len(part), 8)
            self.assertEqual(part.identity, text_identity(texts))
        # 512 tokens stay together.
        places = {text: place // 8 for place, text in enumerate(wanted[:140])}
        passages = [
            {places[text] for text in rows_of(part) if text in places}
            for part in parts
        ]
        self.assertLen(set.union(*passages), sum(map(len, passages)))

    def test_questions_of_a_file_are_divided(self):
        path = os.path.join(self.folder, "qa.csv")
        pairs = [(f"Why is it {n}?", f"It is {n}.") for n in range(60)]
        with open(path, "w", encoding="utf-8", newline="") as file:
            rows = [("Question", "Best Answer"), *pairs]
            csv.writer(file).writerows(rows)
        parts = self.load(path, count=99)
        self.assertCountEqual(
            sum(map(rows_of, parts), []),
            [f"Q: {question}\nA: {answer}" for question, answer in pairs],
        )
        for part in parts:
            self.assertNotEmpty(part.names)
            self.assertTrue((part.gold >= 0).any(1).all())

    def test_a_file_may_have_a_plus_in_its_name(self):
        path = os.path.join(self.folder, "a+b.jsonl")
        append_records(path, [{"text": text} for text in documents(*[40] * 60)])
        parts = self.load(path, count=60)
        self.assertEqual(sum(map(len, parts)), 60)


class GoldTest(TestCase):
    def load(self, pairs, data="truthful_qa", **options):
        self.enter_context(
            mock.patch.object(prompts_lib, "load_questions", return_value=pairs)
        )
        return load_prompts(data, Characters(), split="test", **options)

    def test_gold_is_the_answer_one_token_ahead(self):
        pairs = [("Why is it so?", "Because."), ("Who?", "Nobody can know it.")]
        found = self.load(pairs)
        for row, (question, answer) in enumerate(pairs):
            text = f"Q: {question}\nA: {answer}"
            self.assertEqual(rows_of(found)[row], text)
            (places,) = np.nonzero(found.gold[row] >= 0)
            # From the colon on, up to the last token but one.
            first = text.index("A:") + 1
            self.assertAllEqual(places, range(first, len(text) - 1))
            self.assertAllEqual(
                found.gold[row, places], found.tokens[row, places + 1]
            )
            told = "".join(map(chr, found.gold[row, places]))
            self.assertEqual(told, f" {answer}")

    def test_a_long_question_is_cut_from_the_left(self):
        found = self.load([("Is this a long question?", "Yes.")], length=16)
        self.assertEqual(rows_of(found), ["uestion?\nA: Yes."])
        wanted = [-1] * 10 + [ord(letter) for letter in " Yes."] + [-1]
        self.assertAllEqual(found.gold[0], wanted)

    def test_a_long_answer_is_all_that_is_left(self):
        answer = "It depends on what you mean by that."
        found = self.load([("What?", answer)], length=16)
        self.assertEqual(rows_of(found), [answer[-16:]])
        self.assertAllEqual(found.gold[0, :-1], found.tokens[0, 1:])
        self.assertEqual(found.gold[0, -1], -1)

    def test_an_empty_answer_has_the_space_before_it_alone(self):
        found = self.load([("Is there an answer to it?", "")])
        (places,) = np.nonzero(found.gold[0] >= 0)
        self.assertAllEqual(places, [found.lengths[0] - 2])

    def test_questions_and_texts_go_together(self):
        found = self.load(
            [("Is it so?", "Yes it is.")],
            "truthful_qa+pydoc",
            count=4,
            length=32,
        )
        self.assertEqual(found.names, ("truthful_qa", "pydoc", "pydoc"))
        self.assertAllEqual((found.gold >= 0).any(1), [True, False, False])
