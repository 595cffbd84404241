"""Exports: their metadata, and the whole of one."""

from tests.reliability.shared_files import plan
from tests.reliability.shared_files import tokenizer


def make_artefact(folder):
    from tfshrink.deploy import artefact
    from tfshrink.files import write_json
    from tfshrink.models.sources import open_source

    (folder / "model.tflite").write_bytes(b"TFL3" * 99)
    (folder / "saved").mkdir()
    (folder / "saved/model.pb").write_bytes(b"model" * 99)
    tokenizer().save_pretrained(folder)
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
    own = plan()
    values = {
        "version": artefact.VERSION,
        "name": "tiny",
        "run": None,
        "model": "tiny",
        "source": {"name": "tiny"},
        "config": open_source("tiny").config.to_json(),
        "plan": own.to_json(),
        "plan_hash": own.hash,
        "plans": [own.to_json()],
        "exit": own.exit,
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
