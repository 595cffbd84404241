import collections
import os

import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.data.documents import load_documents
from tfshrink.data.generated import batch_seed
from tfshrink.data.generated import generate_text
from tfshrink.data.generated import listed_prompts
from tfshrink.data.generated import load_generated
from tfshrink.data.generated import start_prompts
from tfshrink.data.generated import text_prompts
from tfshrink.errors import UserError

BOTH = parameterized.parameters("jsonl", "tfrecord")
SETTINGS = {"model": "tiny", "temperature": 0.7}


class Writer:
    """A stand-in for a model: continues with letters drawn from the seed."""

    def __init__(self, fail_at=None):
        self.calls = 0
        self.fail_at = fail_at

    def __call__(self, prompts, seed):
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        self.calls += 1
        generator = np.random.default_rng([seed, *map(sum, prompts)])
        return [
            generator.integers(97, 123, size=generator.integers(1, 9)).tolist()
            for _ in prompts
        ]


def decode(tokens):
    return "".join(map(chr, tokens))


class GeneratedTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path

    def generate(self, name, write=None, **options):
        path = os.path.join(self.folder, name)
        options = {
            "count": 10,
            "batch_size": 4,
            "seed": 3,
            "settings": SETTINGS,
            **options,
        }
        prompts = start_prompts(97, seed=options["seed"], exclude=range(65))
        summary = generate_text(
            write or Writer(), prompts, path, decode=decode, **options
        )
        return path, summary

    @BOTH
    def test_rows_are_what_the_model_wrote(self, ending):
        path, summary = self.generate(f"a.{ending}")
        rows = load_generated(path)
        self.assertEqual([row["index"] for row in rows], list(range(10)))
        for row in rows:
            self.assertEqual(row["seed"], batch_seed(3, row["index"] // 4))
            self.assertEqual(row["prompt_length"], 1)
            self.assertEqual(row["text"], decode(row["tokens"]))
            self.assertEqual(row["settings"]["temperature"], 0.7)
        self.assertEqual(
            summary,
            {
                "rows": 10,
                "new_rows": 10,
                "new_tokens": sum(len(row["tokens"]) - 1 for row in rows),
            },
        )
        self.assertEqual(load_documents(path), [row["text"] for row in rows])
        self.assertEqual(os.listdir(self.folder), [f"a.{ending}"])

    @BOTH
    def test_an_interrupted_run_ends_with_the_same_file(self, ending):
        whole, _ = self.generate(f"whole.{ending}")
        for cut in (0, 1, 30):  # bytes missing at the end
            name = f"cut{cut}.{ending}"
            with self.assertRaises(KeyboardInterrupt):
                self.generate(name, Writer(fail_at=2))
            partial = os.path.join(self.folder, f"{name}.partial")
            self.assertFalse(os.path.exists(partial[: -len(".partial")]))
            os.truncate(partial, os.path.getsize(partial) - cut)
            path, summary = self.generate(name, resume=True)
            # A line that lacks its newline only is whole.
            lost = cut > (ending == "jsonl")
            self.assertEqual(summary["new_rows"], 2 + lost)
            with open(whole, "rb") as a, open(path, "rb") as b:
                self.assertEqual(a.read(), b.read())
            self.assertFalse(os.path.exists(partial))

    def test_resuming_a_finished_file(self):
        path, _ = self.generate("a.jsonl")
        _, summary = self.generate("a.jsonl", resume=True)
        self.assertEqual(summary["new_rows"], 0)
        longer, summary = self.generate("a.jsonl", resume=True, count=13)
        self.assertEqual((summary["rows"], summary["new_rows"]), (13, 3))
        expected, _ = self.generate("b.jsonl", count=13)
        self.assertEqual(load_generated(longer), load_generated(expected))

    def test_an_earlier_file_is_never_touched(self):
        path, _ = self.generate("a.jsonl")
        with open(path, "rb") as file:
            before = file.read()
        with self.assertRaisesRegex(UserError, "a.jsonl exists"):
            self.generate("a.jsonl")
        with self.assertRaisesRegex(UserError, "`temperature` must be 0.7"):
            self.generate(
                "a.jsonl",
                resume=True,
                count=20,
                settings={**SETTINGS, "temperature": 1.0},
            )
        with self.assertRaisesRegex(UserError, "`batch_size` must be 4"):
            self.generate("a.jsonl", resume=True, count=20, batch_size=5)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), before)
        self.assertEqual(os.listdir(self.folder), ["a.jsonl"])

    def test_progress_is_reported(self):
        seen = []
        self.generate("a.jsonl", progress=lambda *state: seen.append(state))
        self.assertEqual([rows for rows, _ in seen], [0, 4, 8, 10])

    def test_bad_input(self):
        with self.assertRaisesRegex(UserError, "a.csv` must be one of jsonl"):
            self.generate("a.csv")
        with self.assertRaisesRegex(UserError, "`count` must be at least 1"):
            self.generate("a.jsonl", count=0)
        path = os.path.join(self.folder, "other.jsonl")
        with open(path, "w") as file:
            file.write('{"text": "mine"}\n')
        with self.assertRaisesRegex(UserError, "must be a file of gen_data"):
            self.generate("other.jsonl", resume=True)
        with self.assertRaisesRegex(UserError, "row 1 must have `tokens`"):
            load_generated(path)

    def test_start_prompts_are_drawn_evenly(self):
        prompts = start_prompts(12, seed=0, exclude=[0, 5])
        drawn = collections.Counter(prompts(n)[0] for n in range(4000))
        self.assertCountEqual(drawn, set(range(12)) - {0, 5})
        self.assertGreater(min(drawn.values()), 300)
        self.assertEqual(
            prompts(7), start_prompts(12, seed=0, exclude=[0, 5])(7)
        )

    def test_text_prompts_are_passages(self):
        lists = [list(range(100, 150)), [], [7, 8], list(range(5))]
        prompts = text_prompts(lists, seed=1, length=4)
        drawn = [tuple(prompts(n)) for n in range(500)]
        for prompt in drawn:
            if prompt != (7, 8):
                self.assertLen(prompt, 4)
                self.assertEqual(list(np.diff(prompt)), [1, 1, 1])
        self.assertGreater(len(set(drawn)), 40)
        self.assertIn((7, 8), drawn)
        with self.assertRaisesRegex(UserError, "empty"):
            text_prompts([[]], seed=0, length=4)

    def test_listed_prompts_come_once_each_and_keep_their_end(self):
        lists = [[1, 2, 3, 4], [5], [6, 7]]
        prompts = listed_prompts(lists, seed=2, length=3)
        for epoch in range(4):
            drawn = [prompts(3 * epoch + n) for n in range(3)]
            self.assertCountEqual(drawn, [[2, 3, 4], [5], [6, 7]])
        with self.assertRaisesRegex(UserError, "`length` must be"):
            listed_prompts(lists, seed=0, length=0)
