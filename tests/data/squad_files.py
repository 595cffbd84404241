"""Small data in the formats of its sources, for the tests: SQuAD and others."""

import json
import os

CONTEXTS = (
    "The tower is 324 metres tall and stands in Paris.",
    "Water boils at 100 degrees at sea level.",
    "Ada Lovelace wrote the first programme in 1843.",
)


def questions():
    """Returns records as TFDS's SQuAD has them, two of each passage."""
    records = []
    for number, context in enumerate(CONTEXTS):
        for place in range(2):
            word = context.split()[3 * place + 1]
            records.append(
                {
                    "id": f"q{number}{place}",
                    "title": f"Passage {number}",
                    "context": context,
                    "question": f"What is word {3 * place + 1}?",
                    "answers": {
                        "text": [word, word.upper()],
                        "answer_start": [context.index(word)] * 2,
                    },
                }
            )
    return records


def write_official_json(path):
    """Writes the records as the official v1.1 JSON file has them."""
    paragraphs = {}
    for record in questions():
        answers = record["answers"]
        paragraphs.setdefault(record["context"], []).append(
            {
                "id": record["id"],
                "question": record["question"],
                "answers": [
                    {"text": text, "answer_start": start}
                    for text, start in zip(
                        answers["text"], answers["answer_start"], strict=True
                    )
                ],
            }
        )
    article = {
        "title": "Words",
        "paragraphs": [
            {"context": context, "qas": qas}
            for context, qas in paragraphs.items()
        ],
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"version": "1.1", "data": [article]}, file)


def write_tfds(data_dir, file_format="tfrecord"):
    """Prepares the records as TFDS prepares `squad/v1.1`."""
    import numpy as np
    import tensorflow_datasets as tfds

    text = tfds.features.Text
    records = list(enumerate(questions()))
    _write(
        data_dir,
        file_format,
        name="squad",
        config="v1.1",
        version="3.0.0",
        features=tfds.features.FeaturesDict(
            {
                "id": text(),
                "title": text(),
                "context": text(),
                "question": text(),
                "answers": tfds.features.Sequence(
                    {"text": text(), "answer_start": np.int32}
                ),
            }
        ),
        split_datasets={"train": records, "validation": records[:3]},
    )


def write_text_set(data_dir, name, splits, file_format="tfrecord"):
    """Prepares a TFDS set with a label and a text; returns nothing."""
    import numpy as np
    import tensorflow_datasets as tfds

    _write(
        data_dir,
        file_format,
        name=name,
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {"label": np.int64, "text": tfds.features.Text()}
        ),
        split_datasets={
            split: [
                (number, {"label": number, "text": text})
                for number, text in enumerate(texts)
            ]
            for split, texts in splits.items()
        },
    )


def write_questions(data_dir, questions, file_format="tfrecord"):
    """Prepares `(question, answer)` pairs as TFDS prepares `truthful_qa`."""
    import tensorflow_datasets as tfds

    text = tfds.features.Text
    _write(
        data_dir,
        file_format,
        name="truthful_qa",
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {
                "question": text(),
                "best_answer": text(),
                "correct_answers": tfds.features.Sequence(text()),
            }
        ),
        split_datasets={
            "validation": [
                (
                    number,
                    {
                        "question": question,
                        "best_answer": answer,
                        "correct_answers": [answer, answer.upper()],
                    },
                )
                for number, (question, answer) in enumerate(questions)
            ]
        },
    )


def _write(data_dir, file_format, **options):
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    tfds.dataset_builders.store_as_tfds_dataset(
        data_dir=os.fspath(data_dir),
        file_format=file_format,
        disable_shuffling=True,
        **options,
    )
