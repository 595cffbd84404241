from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.data.squad_example import SquadExample
from tfshrink.evaluation.squad import answer
from tfshrink.evaluation.squad import batches_by_length
from tfshrink.evaluation.squad import first_line
from tfshrink.evaluation.squad import squad_prompts
from tfshrink.models.sources import open_source


def question(text):
    return SquadExample(
        context="Ada wrote it.", question=text, answers=("Ada",), id="1"
    )


class SquadTest(TestCase):
    def test_prompts_hold_context_and_question(self):
        tokenizer = open_source("tiny").tokenizer()
        prompts = squad_prompts([question("Who?")], tokenizer, 500)
        self.assertEqual(
            tokenizer.decode(prompts[0]),
            "Context: Ada wrote it.\nQuestion: Who?\nAnswer:",
        )

    def test_long_prompts_keep_their_end(self):
        tokenizer = open_source("tiny").tokenizer()
        whole = squad_prompts([question("Who?")], tokenizer, 500)[0]
        cut = squad_prompts([question("Who?")], tokenizer, 12)[0]
        self.assertEqual(cut, whole[-12:])

    @parameterized.parameters(
        (" Ada\nQuestion: Why?", "Ada"),
        ("\n\n  Ada Lovelace \n", "Ada Lovelace"),
        ("", ""),
        (" \n ", ""),
    )
    def test_first_line(self, text, expected):
        self.assertEqual(first_line(text), expected)

    def test_batches_are_full_and_sorted(self):
        prompts = [[0] * n for n in (3, 9, 1, 5, 7)]
        self.assertEqual(
            list(batches_by_length(prompts, 2)), [[1, 4], [3, 0], [2, 2]]
        )

    def test_answers_keep_the_order_of_the_questions(self):
        prompts = [[1], [2, 2, 2], [3, 3]]
        sizes, done = [], []

        def generate(batch):
            sizes.append(len(batch))
            return [[prompt[0]] for prompt in batch]

        found = answer(
            prompts,
            generate,
            lambda tokens: f" {tokens[0]}\nmore",
            batch_size=2,
            on_batch=done.append,
        )
        self.assertEqual(found, ["1", "2", "3"])
        self.assertEqual(sizes, [2, 2])
        self.assertEqual(done, [2, 1])
