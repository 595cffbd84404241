"""SQuAD v1.1: questions, prompts, and rows to train on.

Reference: Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine
Comprehension of Text".
"""

import itertools
import json
import os

from tfshrink.data.pack import tokenize
from tfshrink.data.squad_example import SquadExample
from tfshrink.data.tfds_source import read_tfds
from tfshrink.errors import DAMAGE
from tfshrink.errors import UserError

TFDS_NAME = "squad/v1.1"


def load_squad(path=None, split="train", limit=None, *, data_dir=None):
    """Returns the questions of the official JSON file or of TFDS.

    Args:
        path: The official v1.1 JSON file (read whole, whatever `split` says),
            or a TFDS name. Default: `"squad/v1.1"` of TFDS.
        split: `"train"`, `"calibrate"`, `"search"` (parts of TFDS's training
            set, divided by passage) or `"test"` (its validation set).
        limit: How many questions at most.
        data_dir: Where TFDS keeps its data. Default: as TFDS decides.

    Returns:
        List of `SquadExample`.

    Raises:
        UserError: The file is missing or not SQuAD's JSON, or TFDS cannot
            deliver the set.
    """
    name = str(path or TFDS_NAME)
    if os.path.isfile(name) or name.endswith(".json"):
        examples = read_squad_json(name)
    else:
        examples = _read_squad_tfds(name, split, data_dir)
    examples = list(itertools.islice(examples, limit))
    if not examples:
        raise UserError(f"{name}: no question with an answer ({split}).")
    return examples


def read_squad_json(path):
    """Yields the `SquadExample`s of an official JSON file.

    Questions without an answer (v2.0 has them) are left out.
    """
    try:
        with open(path, encoding="utf-8") as file:
            articles = json.load(file)["data"]
        for article in articles:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    answers = [one["text"] for one in question["answers"]]
                    texts = paragraph["context"], question["question"]
                    if not all(isinstance(t, str) for t in (*texts, *answers)):
                        raise TypeError("what should be text is not")
                    if answers:
                        yield SquadExample(
                            context=texts[0],
                            question=texts[1],
                            answers=tuple(answers),
                            id=str(question["id"]),
                        )
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.") from error
    except DAMAGE as error:
        raise UserError(
            f"{path} must be SQuAD v1.1 JSON (data > paragraphs > context, "
            f"qas > question, answers). Found: {type(error).__name__}: {error}"
        ) from error


def qa_prompt(example):
    """Returns the prompt that asks `example`'s question."""
    return f"Context: {example.context}\nQuestion: {example.question}\nAnswer:"


def generation_prompt(example):
    """Returns `context + question`, what gen_data lets a model continue."""
    return f"{example.context} {example.question}"


def answer_rows(examples, tokenizer):
    """Returns (token lists, prompt lengths) of questions with answers.

    Args:
        examples: List of `SquadExample`.
        tokenizer: As for `tokenize`.

    Returns:
        What `pack(..., mode="padded", prompt_lengths=...)` takes, so that only
        the answer, and the separator that ends it, count as targets.
    """
    prompts = tokenize(map(qa_prompt, examples), tokenizer)
    answers = tokenize((f" {one.answers[0]}" for one in examples), tokenizer)
    rows = [
        [*prompt, *answer]
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    return rows, [len(prompt) for prompt in prompts]


def _read_squad_tfds(name, split, data_dir):
    fields = ["context", "question", "answers/text", "id"]
    records = read_tfds(name, split, fields, key="context", data_dir=data_dir)
    for record in records:
        if record["answers/text"]:
            yield SquadExample(
                context=record["context"][0],
                question=record["question"][0],
                answers=tuple(record["answers/text"]),
                id=record["id"][0],
            )
