import json
import os

import pytest

from tests import forks
from tests.data import squad_files
from tests.test_case import TestCase
from tfshrink.data.generated import load_generated
from tfshrink.data.model_text import make_prompts
from tfshrink.data.pydoc import load_pydoc
from tfshrink.models.sources import open_source

ROOT = os.path.abspath(f"{__file__}/../../..")


class ModelTextTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path

    def prompts(self, data, length=16, room=100):
        source = open_source("tiny")
        tokenizer = source.tokenizer()
        prompts, identity = make_prompts(
            data, tokenizer, source.config, seed=1, length=length, room=room
        )
        return prompts, identity, tokenizer

    def run_binary(self, *arguments):
        return forks.run([f"{ROOT}/bin/gen_data", *arguments], cwd=self.folder)

    def test_start_prompts_are_plain_tokens(self):
        prompts, identity, tokenizer = self.prompts("start")
        drawn = {prompts(index)[0] for index in range(300)}
        self.assertNoCommonElements(drawn, tokenizer.all_special_ids)
        self.assertIsNone(identity)

    def test_passages_come_from_the_training_split(self):
        prompts, identity, tokenizer = self.prompts("pydoc", length=12)
        train = "\n".join(load_pydoc("train"))
        for index in range(5):
            self.assertLen(prompts(index), 12)
            # A passage may begin or end inside a character.
            text = tokenizer.decode(prompts(index)).strip("\ufffd")
            self.assertIn(text, train)
        self.assertLen(identity, 64)

    def test_squad_prompts_keep_the_question(self):
        path = os.path.join(self.folder, "dev.json")
        squad_files.write_official_json(path)
        prompts, _, tokenizer = self.prompts(path, room=20)
        for index in range(6):
            self.assertLessEqual(len(prompts(index)), 20)
            self.assertEndsWith(tokenizer.decode(prompts(index)), "?")

    def test_mistakes_are_one_line(self):
        cases = {
            "--data=pydco": "Did you mean `pydoc`?",
            "--data=none.json": "none.json: No such file",
            "--output=a.txt": "ending of a.txt` must be one of jsonl",
            "--max_new_tokens=512": "`max_new_tokens` must be between 1 and",
            "--modle=tiny": "Did you mean --model?",
        }
        for argument, message in cases.items():
            done = self.run_binary("--model=tiny", argument)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(message, done.stderr)
            self.assertLen(done.stderr.splitlines(), 1)
        self.assertEmpty(os.listdir(self.folder))

    @pytest.mark.slow
    def test_the_binary_writes_resumes_and_reports(self):
        common = (
            "--model=tiny",
            "--max_new_tokens=8",
            "--batch_size=4",
            "--output=out/a.jsonl",
        )
        done = self.run_binary(*common, "--limit=6", "--dry_run")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEmpty(os.listdir(self.folder))
        done = self.run_binary(*common, "--limit=6")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("bin/train --data=out/a.jsonl", done.stdout)
        path = os.path.join(self.folder, "out/a.jsonl")
        first = load_generated(path)
        self.assertLen(first, 6)
        done = self.run_binary(*common, "--limit=9")
        self.assertEqual(done.returncode, 1)
        self.assertIn("--resume", done.stderr)
        done = self.run_binary(
            *common, "--limit=9", "--resume", "--json=summary.json"
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = load_generated(path)
        self.assertEqual(rows[:6], first)
        self.assertLen(rows, 9)
        for row in rows:
            self.assertLessEqual(len(row["tokens"]), 9)
        with open(os.path.join(self.folder, "summary.json")) as file:
            self.assertEqual(json.load(file)["new_rows"], 3)
