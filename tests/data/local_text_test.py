import json
import os

from tests.data import squad_files
from tests.test_case import TestCase
from tfshrink.data.local_text import load_local
from tfshrink.data.records import append_records
from tfshrink.errors import UserError


class LocalTextTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return path

    def test_text_files_are_one_document(self):
        for name in ("a.txt", "a.md"):
            path = self.write(name, "Bună ziua.\n\nA doua.\n")
            self.assertEqual(load_local(path), ["Bună ziua.\n\nA doua.\n"])

    def test_jsonl_of_rows_or_strings(self):
        path = self.write("a.jsonl", '{"text": "one"}\n\n"two"\n{"text": ""}\n')
        self.assertEqual(load_local(path), ["one", "two"])

    def test_tfrecord(self):
        path = os.path.join(self.folder, "a.tfrecord")
        append_records(path, [{"text": "one"}, {"text": "două"}])
        self.assertEqual(load_local(path), ["one", "două"])

    def test_squad_json_gives_each_passage_once(self):
        path = os.path.join(self.folder, "dev.json")
        squad_files.write_official_json(path)
        self.assertEqual(load_local(path), list(squad_files.CONTEXTS))

    def test_empty_text_names_the_file(self):
        for name in ("a.txt", "a.jsonl", "a.tfrecord"):
            path = self.write(name, "")
            with self.assertRaisesRegex(UserError, f"{name} must hold text"):
                load_local(path)
        path = self.write("blank.txt", " \n\n")
        with self.assertRaisesRegex(UserError, "blank.txt must hold text"):
            load_local(path)
        path = self.write("none.json", '{"data": []}')
        with self.assertRaisesRegex(UserError, "none.json must hold text"):
            load_local(path)

    def test_bad_files_are_named(self):
        cases = {
            "a.txt": (b"\xff\xfe\x00", "must be UTF-8"),
            "a.jsonl": ('{"tokens": [1]}\n', "row 1 must .* have `text`"),
            "a.json": (json.dumps([1]), "must be SQuAD v1.1 JSON"),
            "b.json": ("{", "must be SQuAD v1.1 JSON"),
            "a.csv": ("a,b", "must be one of .json"),
        }
        for name, (text, message) in cases.items():
            path = self.write(name, text)
            with self.assertRaisesRegex(UserError, f"{name}.*{message}"):
                load_local(path)
        with self.assertRaisesRegex(UserError, "none.txt: No such file"):
            load_local(os.path.join(self.folder, "none.txt"))
