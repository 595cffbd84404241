import os
from unittest import mock

import hypothesis
import hypothesis.strategies as st
import pytest
from absl.testing import parameterized

from tests.data import mo_files
from tests.data import translation_files
from tests.test_case import TestCase
from tfshrink.data import translation
from tfshrink.data.partition import text_identity
from tfshrink.data.translation import load_pairs
from tfshrink.errors import UserError

PAIRS = [("Good day.", "Bună ziua."), ("It's “here”", "E „aici”")]


class TranslationTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path

    def write(self, data, name="a.tsv"):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(data if isinstance(data, bytes) else data.encode())
        return path

    def test_tsv_is_read_whole_for_any_split(self):
        text = "\n".join("\t".join(pair) for pair in PAIRS)
        for form in (text, text + "\n", text.replace("\n", "\r\n\r\n")):
            path = self.write(form)
            for split in ("train", "test"):
                self.assertEqual(load_pairs(path, split), PAIRS)
        path = self.write(b"\xef\xbb\xbf" + text.encode())
        self.assertEqual(load_pairs(path, "train", limit=1), PAIRS[:1])

    @parameterized.parameters(
        (b"a\tb\nalone\n", r"a\.tsv line 2 must have two columns"),
        (b"a\tb\tc\n", "line 1 must have two columns"),
        (b"a\tb\n\n \tb\n", "line 3 must have two columns"),
        (b"a\tb\nc\t\xff\n", "line 2 must be UTF-8"),
        ("a\tb".encode("utf-16"), "line 1 must be UTF-8"),
        (b"\n", "must hold pairs"),
    )
    def test_bad_tsv_names_the_line(self, data, message):
        with self.assertRaisesRegex(UserError, message):
            load_pairs(self.write(data), "train")

    def test_any_bytes_raise_nothing_but_user_errors(self):
        @hypothesis.settings(
            max_examples=100, deadline=None, derandomize=True, database=None
        )
        @hypothesis.given(st.lists(st.sampled_from(b"ab\t\n\r\xc8\x99\x00")))
        def check(data):
            try:
                for pair in load_pairs(self.write(bytes(data)), "train"):
                    self.assertTrue(all(map(str.strip, pair)))
            except UserError:
                pass

        check()

    def test_one_catalogue(self):
        path = mo_files.write(self.folder, "one", dict(PAIRS))
        self.assertEqual(load_pairs(path, "test"), PAIRS)

    def test_gettext_goes_by_split(self):
        with mock.patch.object(translation, "load_gettext") as load:
            load.return_value = PAIRS
            self.assertEqual(load_pairs("gettext", "search", 1), PAIRS[:1])
        load.assert_called_once_with("search")

    def test_wmt16_in_the_files_of_tfds(self):
        pytest.importorskip("tensorflow")  # TFDS needs it to write
        train = [(f"Sentence {n}.", f"Propoziția {n}.") for n in range(200)]
        splits = {"train": [*train, ("", "gol")], "test": PAIRS}
        for file_format in ("tfrecord", "array_record"):
            folder = os.path.join(self.folder, file_format)
            translation_files.write_wmt16(folder, splits, file_format)
            for name in (translation.WMT16, f"tfds:{translation.WMT16}"):
                found = load_pairs(name, "test", data_dir=folder)
                self.assertEqual(found, PAIRS)
            parts = [
                load_pairs(translation.WMT16, split, data_dir=folder)
                for split in ("train", "calibrate", "search")
            ]
            self.assertCountEqual(sum(parts, []), train)

    def test_mistakes_are_named(self):
        cases = {
            "getext": "Did you mean `gettext`",
            "wmt16_translate/ro-em": "Did you mean `wmt16_translate/ro-en`",
            os.path.join(self.folder, "none.tsv"): "none.tsv: No such file",
            "pairs.csv": "FILE.tsv",
        }
        for name, message in cases.items():
            with self.assertRaisesRegex(UserError, message):
                load_pairs(name, "train")
        with self.assertRaisesRegex(UserError, "`limit` must be at least 1"):
            load_pairs("gettext", "train", limit=0)

    def test_identity_is_the_hash_of_the_texts(self):
        texts = [text for pair in PAIRS for text in pair]
        self.assertEqual(
            translation.pairs_identity(PAIRS), text_identity(texts)
        )
