"""What reads a file: how a whole one is made, and how it is read.

A reader is `Reader(make, read)`: `make(folder)` writes whole files, `read` of
the folder raises nothing but `UserError`, whatever is in them. `damaged`
names the files that are damaged, all of them by default.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

from tests.reliability import export_files
from tests.reliability import model_files
from tests.reliability import run_files
from tests.reliability import text_files


@dataclasses.dataclass(frozen=True)
class Reader:
    """How files are made and read; `weight` is its share of all inputs."""

    make: Callable
    read: Callable
    damaged: tuple = ()
    weight: float = 1.0


READERS = {
    "gguf": Reader(
        model_files.make_gguf,
        lambda f: model_files.read_source(f / "model.gguf"),
        ("model.gguf",),
        3,
    ),
    "gguf_gpt2": Reader(
        functools.partial(model_files.make_gguf, case="gpt2", kind="Q4_1"),
        lambda folder: model_files.read_source(folder / "model.gguf"),
        ("model.gguf",),
    ),
    "huggingface": Reader(
        model_files.make_huggingface, model_files.read_source, (), 2
    ),
    "huggingface_shards": Reader(
        functools.partial(model_files.make_huggingface, case="gpt2", shards=2),
        model_files.read_source,
    ),
    "checkpoint": Reader(
        model_files.make_checkpoint, model_files.read_checkpoint, (), 0.5
    ),
    "plan": Reader(run_files.make_plan, run_files.read_plan, (), 3),
    "run": Reader(
        run_files.make_run,
        run_files.read_run_folder,
        ("config.json", "metrics.jsonl", "range_test.json"),
        1,
    ),
    "open_run": Reader(
        run_files.make_open_run, run_files.read_open_run, (), 0.01
    ),
    "results": Reader(
        run_files.make_results, run_files.read_all_results, (), 0.5
    ),
    "tsv": Reader(text_files.make_tsv, text_files.read_tsv),
    "mo": Reader(text_files.make_mo, text_files.read_mo, (), 2),
    "records": Reader(text_files.make_records, text_files.read_records, (), 1),
    "texts": Reader(text_files.make_texts, text_files.read_texts),
    "subwords": Reader(
        text_files.make_subwords, text_files.read_subwords, (), 0.5
    ),
    "calibration": Reader(
        model_files.make_calibration, model_files.read_calibration, (), 0.25
    ),
    "policy": Reader(model_files.make_policy, model_files.read_policy, (), 0.5),
    "artefact": Reader(
        export_files.make_artefact,
        export_files.read_artefact,
        ("metadata.json", "tokenizer.json"),
        1,
    ),
    "export": Reader(
        export_files.make_export,
        export_files.read_export,
        ("metadata.json",),
        0.05,
    ),
}


def damaged_files(reader, folder):
    """Paths of the files of a folder that are to be damaged."""
    names = reader.damaged or sorted(
        str(path.relative_to(folder))
        for path in Path(folder).rglob("*")
        if path.is_file()
    )
    return [Path(folder, name) for name in names]
