import json
import pathlib

from absl.testing import parameterized

from tests import forks
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.evaluation.generate import generate
from tfshrink.models.sources import open_source

ROOT = pathlib.Path(__file__).parents[2]


class GenerateTest(TestCase):
    def run_binary(self, *flags):
        return forks.run(
            [ROOT / "bin" / "generate", *flags],
            cwd=self.create_tempdir().full_path,
        )

    def test_text_behind_a_coded_cache(self):
        options = {"model": "tiny", "max_new_tokens": 100, "temperature": 0.0}
        small = "block=8:window=8"
        texts = [
            generate("one", lambda piece: None, kv=kv, **options)["text"]
            for kv in (None, f"int8:{small}", f"int2:{small}:exact=8")
        ]
        self.assertEqual(texts[1][:12], texts[0][:12])
        self.assertNotEqual(texts[2], texts[0])

    @parameterized.parameters(
        ("int5", "Did you mean `int"),
        ("pca:90x", "`kv` rate of pca must be at most"),
        ("int8:layers=0,2", "`kv` layers must be below 2.*Received: 2"),
    )
    def test_a_wrong_codec_is_named(self, kv, message):
        with self.assertRaisesRegex(UserError, message):
            generate("one", print, model="tiny", kv=kv)

    def test_what_is_shown_is_what_is_returned(self):
        pieces = []
        result = generate(
            "one", pieces.append, model="tiny", max_new_tokens=24, seed=1
        )
        self.assertEqual("".join(pieces), result["text"])
        self.assertBetween(result["tokens"], 1, 24)
        self.assertGreater(result["seconds"], result["first_seconds"])
        stop = result["text"][6:8]
        stopped = generate(
            "one",
            pieces.append,
            model="tiny",
            max_new_tokens=24,
            seed=1,
            stop=[stop],
        )
        self.assertEqual(stopped["text"], result["text"].partition(stop)[0])

    def test_an_empty_prompt_is_the_start_token(self):
        token = open_source("tiny").tokenizer().decode([1])
        options = {"model": "tiny", "max_new_tokens": 8, "temperature": 0.0}
        texts = [
            generate(prompt, lambda piece: None, **options)["text"]
            for prompt in ("", token)
        ]
        self.assertEqual(*texts)

    def test_a_plan_changes_the_text(self):
        options = {"model": "tiny", "max_new_tokens": 12, "temperature": 0.0}
        texts = {
            generate("two", lambda piece: None, plan=plan, **options)["text"]
            for plan in (None, "2")
        }
        self.assertLen(texts, 2)

    @parameterized.parameters(
        ({"plan": "8;4"}, "`--plan` must be one plan"),
        ({"plan": "9"}, "bits=9"),
        ({"model": "tinny"}, "Did you mean `tiny`"),
        ({"workdir": "no/such/run"}, "`--workdir`.*no/such/run"),
    )
    def test_mistakes_are_named(self, options, message):
        with self.assertRaisesRegex(UserError, message):
            generate("a", print, **{"model": "tiny", **options})

    def test_the_binary_streams_and_writes_json(self):
        path = self.create_tempdir().create_file("out.json").full_path
        done = self.run_binary(
            "--model=tiny",
            "--prompt=one two",
            "--max_new_tokens=10",
            "--top_k=40",
            f"--json={path}",
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(pathlib.Path(path).read_text("utf-8"))
        self.assertEqual(done.stdout, result["text"] + "\n")
        self.assertIn(f"{result['tokens']} tokens in", done.stderr)

    def test_the_binary_names_a_mistake_in_one_line(self):
        done = self.run_binary("--model=tiny", "--prompt=a", "--top_p=2")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout, "")
        last = done.stderr.splitlines()[-1]
        self.assertRegex(last, "^generate: `top_p` .*Received: 2.0$")

    def test_help_shows_three_examples(self):
        done = self.run_binary("--help")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stdout.count("  bin/generate "), 3)
        self.assertIn("--repetition_penalty", done.stdout)
