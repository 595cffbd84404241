import json
import os
import unicodedata

import hypothesis
import hypothesis.strategies as st

from tests.test_case import TestCase
from tfshrink.data import subwords
from tfshrink.errors import UserError

TEXTS = [
    "The file %s could not be opened in 2024.",
    "Fișierul %s nu a putut fi deschis în 2024.",
    "The files are not in the folder.",
    "Fișierele nu sunt în dosar.",
] * 3


class SubwordsTest(TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.tokenizer = subwords.train_subwords(TEXTS, vocabulary_size=320)

    def test_special_tokens_come_first_and_the_size_is_kept(self):
        self.assertEqual(subwords.special_ids(self.tokenizer), (0, 1, 2))
        self.assertEqual(self.tokenizer.get_vocab_size(), 320)

    def test_training_does_not_depend_on_the_order(self):
        for texts in (TEXTS, TEXTS[::-1], sorted(TEXTS)):
            again = subwords.train_subwords(texts, vocabulary_size=320)
            self.assertEqual(again.to_str(), self.tokenizer.to_str())

    def test_frequent_words_are_one_token_and_digits_alone(self):
        self.assertEqual(len(self.tokenizer.encode("The").ids), 1)
        tokens = self.tokenizer.encode("2024").tokens
        self.assertEqual(tokens, ["2", "0", "2", "4"])

    def test_any_text_comes_back_composed(self):
        @hypothesis.settings(
            max_examples=100, deadline=None, derandomize=True, database=None
        )
        @hypothesis.given(st.text())
        @hypothesis.example("s\u0326 <s> </s><pad> \u015f\t\n  ")
        def check(text):
            ids = self.tokenizer.encode(text).ids
            self.assertEqual(
                self.tokenizer.decode(ids, skip_special_tokens=False),
                unicodedata.normalize("NFC", text),
            )
            self.assertEmpty({0, 1, 2} & {*ids})

        check()

    def test_saved_and_loaded_is_the_same(self):
        folder = self.create_tempdir().full_path
        path = os.path.join(folder, "new", "tokenizer.json")
        subwords.save_subwords(self.tokenizer, path)
        loaded = subwords.load_subwords(path)
        self.assertEqual(loaded.to_str(), self.tokenizer.to_str())
        text = "Fișiere <s>"
        self.assertEqual(
            loaded.encode(text).ids, self.tokenizer.encode(text).ids
        )

    def test_wrapped_for_transformers(self):
        wrapped = subwords.as_transformers(self.tokenizer, context=64)
        self.assertEqual(
            (wrapped.pad_token_id, wrapped.bos_token_id, wrapped.eos_token_id),
            (0, 1, 2),
        )
        for text in (*TEXTS, "<s> is text"):
            ids = wrapped.encode(text, add_special_tokens=False)
            self.assertEqual(ids, self.tokenizer.encode(text).ids)
            self.assertEqual(wrapped.decode(ids), text)

    def test_bad_files_are_named(self):
        path = self.create_tempfile("tokenizer.json", "{}").full_path
        with self.assertRaisesRegex(UserError, "must be a tokenizer.json"):
            subwords.load_subwords(path)
        with self.assertRaisesRegex(UserError, "No such file"):
            subwords.load_subwords(path + "x")
        fields = json.loads(self.tokenizer.to_str())
        fields["added_tokens"] = []
        del fields["model"]["vocab"]["</s>"]
        path = self.create_tempfile("b.json", json.dumps(fields)).full_path
        with self.assertRaisesRegex(UserError, "Missing: </s>"):
            subwords.load_subwords(path)
        with self.assertRaisesRegex(UserError, "must be UTF-8|tokenizer.json"):
            path = self.create_tempfile("c.json", b"\xff", mode="wb").full_path
            subwords.load_subwords(path)

    def test_the_bytes_must_fit(self):
        with self.assertRaisesRegex(UserError, "at least 259. Received: 258"):
            subwords.train_subwords(TEXTS, vocabulary_size=258)
        small = subwords.train_subwords(TEXTS, vocabulary_size=259)
        self.assertLen(small.encode("ș").ids, 2)
