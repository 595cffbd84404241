"""Texts: pairs, catalogues, generated rows, questions, subwords."""

import functools
import json

from tests.reliability.shared_files import all_of
from tests.reliability.shared_files import subwords


def make_tsv(folder):
    text = "a house\to casă\nthe tree\tcopacul\n\none\tunu\n"
    (folder / "pairs.tsv").write_text(text, "utf-8")


def read_tsv(folder):
    from tfshrink.data.translation import load_pairs

    load_pairs(str(folder / "pairs.tsv"))


def make_mo(folder):
    from tests.data.mo_files import catalogue

    messages = {
        "_File": "_Fișier",
        "The house": "Casa",
        "menu\x04Open": "Deschide",
        "%d file\0%d files": "%d fișier\0%d fișiere\0%d de fișiere",
    }
    (folder / "x.mo").write_bytes(catalogue(messages))


def read_mo(folder):
    from tfshrink.data.translation import load_pairs

    load_pairs(str(folder / "x.mo"))


def make_records(folder):
    from tfshrink.data.records import append_records

    rows = [
        {
            "index": index,
            "text": "some text",
            "tokens": [1, 2, 300, index],
            "prompt_length": 1,
            "seed": 7,
            "settings": {"seed": 0, "top_p": 0.9, "batch_size": 2},
        }
        for index in range(3)
    ]
    for kind in ("jsonl", "tfrecord"):
        append_records(str(folder / f"rows.{kind}"), rows)


def read_records(folder):
    from tfshrink.data.generated import generate_text
    from tfshrink.data.generated import load_generated
    from tfshrink.data.local_text import load_local
    from tfshrink.data.records import repair_records

    resumed = functools.partial(
        generate_text,
        lambda prompts, seed: [[1]] * len(prompts),
        lambda index: [1],
        count=4,
        batch_size=2,
        settings={"top_p": 0.9},
        decode=str,
        resume=True,
    )
    calls = []
    for kind in ("jsonl", "tfrecord"):
        path = str(folder / f"rows.{kind}")
        calls += [
            functools.partial(load_generated, path),
            functools.partial(load_local, path),
            functools.partial(repair_records, path),
            functools.partial(resumed, path),
        ]
    try:
        all_of(*calls)
    finally:
        for path in folder.glob("*.partial"):
            path.unlink()


def make_texts(folder):
    from tests.data import squad_files

    question = {
        "id": "q",
        "question": "Which?",
        "answers": [{"text": "this", "answer_start": 1}],
    }
    paragraph = {"context": squad_files.CONTEXTS[0], "qas": [question] * 2}
    values = {"version": "1.1", "data": [{"paragraphs": [paragraph] * 2}]}
    (folder / "squad.json").write_text(json.dumps(values))
    rows = 'Type,Question,Best Answer\nx,Why?,Because\ny,Who?,"a, b"\n'
    (folder / "questions.csv").write_text(rows)
    (folder / "text.txt").write_text("Some text.\n\nMore of ă.\n", "utf-8")


def read_texts(folder):
    from tfshrink.data.local_text import load_local
    from tfshrink.data.squad import load_squad
    from tfshrink.data.truthful_qa import load_questions

    all_of(
        lambda: load_squad(str(folder / "squad.json")),
        lambda: load_local(str(folder / "squad.json")),
        lambda: load_questions(str(folder / "questions.csv")),
        lambda: load_local(str(folder / "text.txt")),
    )


def make_subwords(folder):
    from tfshrink.data.subwords import save_subwords

    save_subwords(subwords(), folder / "tokenizer.json")


def read_subwords(folder):
    from tfshrink.data.subwords import load_subwords

    tokenizer = load_subwords(folder / "tokenizer.json")
    tokenizer.decode(tokenizer.encode("a text of words").ids)
