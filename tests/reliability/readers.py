"""What reads a file: how a whole one is made, and how it is read.

A reader is `Reader(make, read)`: `make(folder)` writes whole files, `read` of
the folder raises nothing but `UserError`, whatever is in them. `damaged`
names the files that are damaged, all of them by default.
"""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

WORDS = ("a", "b", "the", "one", "Ġt", "<s>")


@dataclasses.dataclass(frozen=True)
class Reader:
    """How files are made and read; `weight` is its share of all inputs."""

    make: Callable
    read: Callable
    damaged: tuple = ()
    weight: float = 1.0


def make_gguf(folder, case="llama_tied_gqa", kind="Q8_0"):
    from tests.golden.random_checkpoints import VOCABULARY
    from tests.models.sources.gguf_files import write_gguf
    from tfshrink.models.sources.byte_level import byte_letters

    words = [*byte_letters()[:VOCABULARY]]

    def edit(writer):
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        writer.add_token_list(words)
        writer.add_token_types([3, 4] + [1] * (len(words) - 2))
        writer.add_token_merges([])
        writer.add_chat_template("{{ messages }}")

    write_gguf(folder / "model.gguf", case, folder / "hf", kind=kind, edit=edit)


def read_source(path):
    from tfshrink.models.sources import open_source

    source = open_source(path)
    source.config.to_json()
    for _ in source.weights():
        pass
    source.tokenizer()


def make_huggingface(folder, case="llama", shards=1):
    from tests.golden.random_checkpoints import write_checkpoint

    write_checkpoint(folder, case, shards)
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 3]}')
    _tokenizer().save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)


def _subwords():
    from tfshrink.data.subwords import train_subwords

    return train_subwords(["a text of words"] * 3, vocabulary_size=264)


def _tokenizer():
    from tfshrink.data.subwords import as_transformers

    return as_transformers(_subwords(), context=48)


@functools.cache
def _model():
    from tests.training import tiny

    return tiny.model(bank="codes")


def make_checkpoint(folder):
    from tfshrink.models.checkpoint import save_model

    save_model(folder / "final.safetensors", _model(), {"step": 1})


def read_checkpoint(folder):
    from tfshrink.models.checkpoint import load_model_state

    load_model_state(folder / "final.safetensors", _model())


def _plan(**more):
    from tfshrink.plan import Plan

    return Plan.parse(
        "4:heads=.5:embedding=4",
        layers=2,
        pruning=(0.5, 0, 0, 0, 0, 0.5, 0, 0, 0),
        exit="margin:.8:layers=1",
        kv={"codec": "pca", "rate": 4.0, "layers": "0,1"},
        **more,
    )


def make_plan(folder):
    _plan().save(folder / "plan.json")


def read_plan(folder):
    from tfshrink.plan import Plan

    plan = Plan.load(folder / "plan.json")
    _ = plan.hash, plan.layer_precision(), plan.as_dict()
    Plan.from_json(plan.to_json())
    Plan.parse(str(folder / "plan.json"), layers=2)


def make_run(folder):
    from tfshrink.layers.precision_config import PrecisionConfig
    from tfshrink.training.settings import TrainSettings

    values = {
        "model": "tiny",
        "settings": TrainSettings(model="tiny").to_json(),
        "precision": PrecisionConfig(widths=(8, 4), ranks=(2, 4)).to_json(),
        "plans": [_plan().to_json()],
        "exits": {"layers": [1], "blocks": 0, "rank": 4},
        "identity": {"name": "tiny"},
    }
    (folder / "config.json").write_text(json.dumps(values))
    lines = [{"step": step, "loss": 1.0} for step in (1, 2, 3)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)
    (folder / "range_test.json").write_text('{"low": 3, "bits": {"3": 1.0}}')
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/final.safetensors").touch()


def read_run_folder(folder):
    from tfshrink.models.run import read_run
    from tfshrink.run_folder import RunFolder
    from tfshrink.training.train import stored_settings

    _all_of(
        lambda: read_run(folder),
        lambda: RunFolder(folder, resume=True).metrics(),
        lambda: RunFolder(folder, resume=True).forget_after(2),
        lambda: stored_settings(RunFolder(folder, resume=True)),
    )


def _all_of(*calls):
    """Calls all; the first documented error is raised at the end."""
    from tfshrink.errors import UserError

    errors = []
    for call in calls:
        try:
            call()
        except UserError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def make_open_run(folder):
    from tfshrink.models.checkpoint import save_model

    model = _model()
    values = {
        "model": "tiny",
        "settings": {},
        "precision": model.precision.to_json(),
        "plans": [_plan().to_json()],
        "exits": None,
        "identity": {"name": "tiny"},
    }
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "checkpoints").mkdir()
    save_model(folder / "checkpoints/final.safetensors", model)


def read_open_run(folder):
    from tfshrink.models.run import open_run

    open_run(folder, widths=(3,))


def make_results(folder):
    row = {
        "name": "4",
        "plan": _plan().to_json(),
        "effective_bits": 4.0,
        "bytes": 1000,
        "perplexity": 9.0,
        "margin": 0.1,
        "satisfied_share": 1.0,
        "exit": None,
    }
    values = {
        "model": "tiny",
        "reference": {"perplexity": 8.0, "bytes": 4000},
        "plans": [row, {**row, "name": "8"}],
        "environment": {"cpu": "x"},
        "command": "bin/search",
        "seconds": 3.5,
    }
    (folder / "results.json").write_text(json.dumps(values))
    values["search"] = {
        "requirement": {"formula": "a >= 1"},
        "judged": 4,
        "prompts": 2,
        "method": "pareto",
        "feasible": False,
    }
    (folder / "search.json").write_text(json.dumps(values))
    worst = {"prompt": 1, "property": "a", "token": 3, "margin": -0.1}
    own = {"violations": 1, "rate": 0.1, "bound": 0.2, "median_margin": 0.1}
    certificate = {
        "formula": "a >= 1",
        "prompts": {"count": 10, "data": ["pydoc"]},
        "confidence": 0.95,
        "bound": "Clopper-Pearson",
        "tests": 1,
        "assumes": "independence",
        "plans": [
            {
                "name": "4",
                "properties": {"a": {**own, "worst_margin": -0.1}},
                "worst": [{**worst, "text": "x"}],
            }
        ],
    }
    (folder / "certificate.json").write_text(json.dumps(certificate))
    _sensitivity().save(folder / "sensitivity.json")


def _sensitivity():
    from tfshrink.search.sensitivity import Sensitivity

    row = {"group": "block_00/mlp_in", "bits": 4, "pruning": 0.0}
    rows = [
        {**row, "sparsity": "unstructured", "kl": 0.1, "margin": 0.2},
        {**row, "sparsity": "unstructured", "kl": 0.2, "bits": 3},
    ]
    names = ("block_00/mlp_in", "embedding")
    identity = {"model": {"name": "tiny"}, "run": None}
    return Sensitivity(rows, names, identity, {"correlation": 0.9})


def read_all_results(folder):
    from tfshrink.evaluation.results import read_results
    from tfshrink.report.report import report
    from tfshrink.search.sensitivity import Sensitivity

    page = folder.parent / "page.html"
    _all_of(
        lambda: read_results(folder),
        lambda: Sensitivity.load(folder / "sensitivity.json"),
        lambda: report([folder, folder / "search.json"], page),
    )


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
        _all_of(*calls)
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

    _all_of(
        lambda: load_squad(str(folder / "squad.json")),
        lambda: load_local(str(folder / "squad.json")),
        lambda: load_questions(str(folder / "questions.csv")),
        lambda: load_local(str(folder / "text.txt")),
    )


def make_subwords(folder):
    from tfshrink.data.subwords import save_subwords

    save_subwords(_subwords(), folder / "tokenizer.json")


def read_subwords(folder):
    from tfshrink.data.subwords import load_subwords

    tokenizer = load_subwords(folder / "tokenizer.json")
    tokenizer.decode(tokenizer.encode("a text of words").ids)


def make_calibration(folder):
    from tests.layers.kv_stubs import statistics
    from tfshrink.models import kv_calibration
    from tfshrink.models.sources import open_source

    about = {
        "version": kv_calibration.VERSION,
        "model": open_source("tiny").identity,
        "data": "pydoc",
        "tokens": 12,
    }
    own = statistics(2, 32, 2)
    kv_calibration._write(folder / "kv.npz", own, about)


def read_calibration(folder):
    from tfshrink.kv_spec import KVSpec
    from tfshrink.models.kv_codecs import open_codecs
    from tfshrink.models.sources import open_source

    spec = KVSpec.parse(
        f"pca:2x:window=8:block=16:calibration={folder / 'kv.npz'}"
    )
    open_codecs(spec, open_source("tiny"), 512)


def make_policy(folder):
    from tfshrink.exit_policy import ExitPolicy

    random = np.random.default_rng(0)
    shapes = [(4, 3), (3,), (3, 1), (1,)]
    ExitPolicy(
        layers=(1, 2),
        reads=("margin",),
        center=(0.0,),
        spread=(1.0,),
        weights=tuple(random.normal(size=shape) for shape in shapes),
        made={"steps": 3},
    ).write(folder / "policy.json")


def read_policy(folder):
    from tfshrink.exit_policy import ExitPolicy

    policy = ExitPolicy.read(folder / "policy.json")
    policy.check((1, 2))
    _ = policy.reads_logits


def make_artefact(folder):
    from tfshrink.deploy import artefact
    from tfshrink.files import write_json
    from tfshrink.models.sources import open_source

    (folder / "model.tflite").write_bytes(b"TFL3" * 99)
    (folder / "saved").mkdir()
    (folder / "saved/model.pb").write_bytes(b"model" * 99)
    _tokenizer().save_pretrained(folder)
    names = {"litert": "model.tflite", "saved_model": "saved"}
    formats = {
        kind: {
            "file": name,
            "bytes": artefact.size(folder / name),
            "sha256": artefact.digest(folder / name),
            "activations": 8,
        }
        for kind, name in names.items()
    }
    plan = _plan()
    values = {
        "version": artefact.VERSION,
        "name": "tiny",
        "run": None,
        "model": "tiny",
        "source": {"name": "tiny"},
        "config": open_source("tiny").config.to_json(),
        "plan": plan.to_json(),
        "plan_hash": plan.hash,
        "plans": [plan.to_json()],
        "exit": plan.exit,
        "formats": formats,
        "special_tokens": {"eos_token": "</s>"},
        "environment": {},
    }
    write_json(folder / artefact.METADATA, values)


def read_artefact(folder):
    from tfshrink.decoder_config import DecoderConfig
    from tfshrink.deploy.artefact import Artefact
    from tfshrink.plan import Plan

    for kind in ("litert", "saved_model"):
        artefact = Artefact(folder, kind)
        artefact.tokenizer()
        artefact.chat_template()
        values = artefact.metadata
        DecoderConfig.from_json(values["config"])
        Plan.from_json(values["plan"])


def make_export(folder):
    from tfshrink.deploy.export import export

    export(model="tiny", plan="4", group=32, out=folder / "out")
    for path in (folder / "out").iterdir():
        path.rename(folder / path.name)


def read_export(folder):
    from tfshrink.deploy.runtime import Runtime

    runtime = Runtime(folder, threads=1)
    list(runtime.stream("a b", max_new_tokens=2))


READERS = {
    "gguf": Reader(
        make_gguf, lambda f: read_source(f / "model.gguf"), ("model.gguf",), 3
    ),
    "gguf_gpt2": Reader(
        functools.partial(make_gguf, case="gpt2", kind="Q4_1"),
        lambda folder: read_source(folder / "model.gguf"),
        ("model.gguf",),
    ),
    "huggingface": Reader(make_huggingface, read_source, (), 2),
    "huggingface_shards": Reader(
        functools.partial(make_huggingface, case="gpt2", shards=2), read_source
    ),
    "checkpoint": Reader(make_checkpoint, read_checkpoint, (), 0.5),
    "plan": Reader(make_plan, read_plan, (), 3),
    "run": Reader(
        make_run,
        read_run_folder,
        ("config.json", "metrics.jsonl", "range_test.json"),
        1,
    ),
    "open_run": Reader(make_open_run, read_open_run, (), 0.01),
    "results": Reader(make_results, read_all_results, (), 0.5),
    "tsv": Reader(make_tsv, read_tsv),
    "mo": Reader(make_mo, read_mo, (), 2),
    "records": Reader(make_records, read_records, (), 1),
    "texts": Reader(make_texts, read_texts),
    "subwords": Reader(make_subwords, read_subwords, (), 0.5),
    "calibration": Reader(make_calibration, read_calibration, (), 0.25),
    "policy": Reader(make_policy, read_policy, (), 0.5),
    "artefact": Reader(
        make_artefact, read_artefact, ("metadata.json", "tokenizer.json"), 1
    ),
    "export": Reader(make_export, read_export, ("metadata.json",), 0.05),
}


def damaged_files(reader, folder):
    """Paths of the files of a folder that are to be damaged."""
    names = reader.damaged or sorted(
        str(path.relative_to(folder))
        for path in Path(folder).rglob("*")
        if path.is_file()
    )
    return [Path(folder, name) for name in names]
