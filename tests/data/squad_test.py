import os

import pytest

from tests.data import squad_files
from tests.data.pack_test import Characters
from tests.test_case import TestCase
from tfshrink.data.pack import pack
from tfshrink.data.squad import answer_rows
from tfshrink.data.squad import generation_prompt
from tfshrink.data.squad import load_squad
from tfshrink.data.squad import qa_prompt
from tfshrink.errors import UserError


def as_records(examples):
    return [
        (one.id, one.context, one.question, list(one.answers))
        for one in examples
    ]


def expected(records):
    return [
        (one["id"], one["context"], one["question"], one["answers"]["text"])
        for one in records
    ]


class SquadTest(TestCase):
    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.create_tempdir(), "dev-v1.1.json")
        squad_files.write_official_json(self.path)

    def test_official_json(self):
        examples = load_squad(self.path)
        self.assertEqual(
            as_records(examples), expected(squad_files.questions())
        )
        self.assertLen(load_squad(self.path, limit=4), 4)

    def test_tfds(self):
        pytest.importorskip("tensorflow")
        folder = self.create_tempdir().full_path
        squad_files.write_tfds(folder)
        records = squad_files.questions()
        test = load_squad(split="test", data_dir=folder)
        self.assertEqual(as_records(test), expected(records[:3]))
        parts = []
        for split in ("train", "calibrate", "search"):
            try:
                parts += load_squad("squad", split, data_dir=folder)
            except UserError:  # three passages do not reach every part
                continue
        self.assertCountEqual(
            as_records(parts), [one for one in expected(records)]
        )

    def test_questions_without_an_answer_are_left_out(self):
        with open(self.path) as file:
            text = file.read()
        start = text.index('[{"text"')
        end = text.index("]", start) + 1
        with open(self.path, "w") as file:
            file.write(text[:start] + "[]" + text[end:])
        self.assertLen(load_squad(self.path), 5)

    def test_prompts(self):
        example = load_squad(self.path)[0]
        self.assertEqual(
            generation_prompt(example),
            f"{squad_files.CONTEXTS[0]} What is word 1?",
        )
        self.assertEqual(
            qa_prompt(example),
            f"Context: {squad_files.CONTEXTS[0]}\n"
            "Question: What is word 1?\nAnswer:",
        )

    def test_only_answers_count(self):
        examples = load_squad(self.path)
        rows, lengths = answer_rows(examples, Characters())
        packed = pack(
            rows, 64, separator=0, mode="padded", prompt_lengths=lengths
        )
        self.assertLen(packed, len(examples))
        for one, tokens, mask in zip(
            examples, packed.tokens, packed.mask, strict=True
        ):
            counted = "".join(map(chr, tokens[mask > 0]))
            self.assertEqual(counted, f" {one.answers[0]}\0")

    def test_missing_file(self):
        with self.assertRaisesRegex(UserError, "none.json: No such file"):
            load_squad("none.json")
