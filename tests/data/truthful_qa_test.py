import os

import pytest
from absl.testing import parameterized

from tests.data import squad_files
from tests.test_case import TestCase
from tfshrink.data.truthful_qa import is_questions
from tfshrink.data.truthful_qa import load_questions
from tfshrink.errors import UserError

OFFICIAL = """Type,Category,Question,Best Answer,Correct Answers,Source
Adversarial,Myths,What is it?,A tower,A tower; The tower,http://a
Adversarial,"Law, old","Is ""it"", too?","No,
never",No,http://b
Other,Ţară,Cât e ceasul?,E târziu,Târziu,http://c
"""
QUESTIONS = [
    ("What is it?", "A tower"),
    ('Is "it", too?', "No,\nnever"),
    ("Cât e ceasul?", "E târziu"),
]


class CSVTest(TestCase):
    def write(self, text, encoding="utf-8"):
        path = os.path.join(self.create_tempdir().full_path, "qa.csv")
        with open(path, "wb") as file:
            file.write(text.encode(encoding))
        return path

    def test_the_official_file_by_hand(self):
        path = self.write(OFFICIAL)
        for split in ("test", "search"):
            self.assertEqual(load_questions(path, split), QUESTIONS)

    def test_lines_may_end_in_any_way(self):
        text = "Question,Best Answer\nWhy?,So.\n"
        for ending in ("\n", "\r\n"):
            path = self.write(text.replace("\n", ending))
            self.assertEqual(load_questions(path), [("Why?", "So.")])

    def test_a_row_may_lack_its_answer(self):
        path = self.write("Best Answer,Question\nSo.,Why?\n,Who?\n")
        found = load_questions(path)
        self.assertEqual(found, [("Why?", "So."), ("Who?", "")])
        path = self.write("Question,Best Answer\nWhy?\n")
        self.assertEqual(load_questions(path), [("Why?", "")])

    @parameterized.parameters(
        ("Question,Answer\na,b\n", "utf-8", "Missing: Best Answer$"),
        ("question,best answer\na,b\n", "utf-8", "Best Answer, Question$"),
        ("", "utf-8", "Missing: Best Answer, Question$"),
        ("Question,Best Answer\n", "utf-8", "must hold questions.*empty"),
        ("Question,Best Answer\nCât?,Ţi\n", "utf-16", "must be a UTF-8 CSV"),
    )
    def test_what_is_wrong_with_a_file_is_named(self, text, encoding, message):
        path = self.write(text, encoding)
        with self.assertRaisesRegex(UserError, message) as caught:
            load_questions(path)
        self.assertIn(path, str(caught.exception))

    def test_a_file_that_is_not_there(self):
        folder = self.create_tempdir().full_path
        for name, message in (
            ("none.csv", "none.csv: No such file"),
            ("folder.csv", "folder.csv: Is a directory"),
        ):
            os.makedirs(os.path.join(folder, "folder.csv"), exist_ok=True)
            with self.assertRaisesRegex(UserError, message):
                load_questions(os.path.join(folder, name))

    @parameterized.parameters(
        ("truthful_qa", True),
        ("tfds:truthful_qa", True),
        ("truthful_qa/generation", True),
        ("folder/some.csv", True),
        ("pydoc", False),
        ("wikitext", False),
        ("truthful_qa.txt", False),
    )
    def test_questions_are_known_by_their_name(self, name, wanted):
        self.assertEqual(is_questions(name), wanted)


class TensorFlowDatasetsTest(TestCase):
    def setUp(self):
        super().setUp()
        pytest.importorskip("tensorflow")  # TFDS needs it to write
        self.folder = self.create_tempdir().full_path
        self.questions = [
            (f"What is number {n}, “really”?", f"It is {n * n}.")
            for n in range(80)
        ]

    def test_the_lone_split_of_the_set_is_divided(self):
        squad_files.write_questions(self.folder, self.questions)
        parts = {
            split: load_questions("truthful_qa", split, data_dir=self.folder)
            for split in ("train", "calibrate", "search", "test")
        }
        self.assertCountEqual(sum(parts.values(), []), self.questions)
        for split, part in parts.items():
            self.assertNotEmpty(part, split)
            self.assertEqual(
                load_questions("tfds:truthful_qa", split, data_dir=self.folder),
                part,
            )

    def test_an_empty_split_is_named(self):
        squad_files.write_questions(self.folder, self.questions[:1])
        with self.assertRaisesRegex(UserError, "truthful_qa must hold quest"):
            load_questions("truthful_qa", "search", data_dir=self.folder)

    def test_a_set_without_answers_is_refused(self):
        squad_files.write_text_set(
            self.folder, "truthful_qa", {"validation": ["a"]}
        )
        with self.assertRaisesRegex(UserError, "must have question"):
            load_questions("truthful_qa", "validation", data_dir=self.folder)
