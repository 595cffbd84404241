"""bin/export's work: one plan of a model or a run, as files that ship."""

import contextlib
import os
import pathlib
import shutil
import time

import numpy as np

from tfshrink.deploy import artefact
from tfshrink.deploy.card import model_card
from tfshrink.deploy.frozen import freeze
from tfshrink.deploy.litert.session import Session
from tfshrink.deploy.litert.write import check_litert
from tfshrink.deploy.litert.write import litert_notes
from tfshrink.deploy.litert.write import write_litert
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.evaluation.candidate import model_candidates
from tfshrink.evaluation.candidate import run_candidates
from tfshrink.evaluation.environment import environment
from tfshrink.evaluation.size import adapter_ranks
from tfshrink.evaluation.size import model_bytes
from tfshrink.files import sha256_file
from tfshrink.files import write_json

FORMATS = ("litert",)
COMPARED = 64  # tokens that are run by both sides
TIMED = 48  # tokens that are decoded for the row's speed


def export(
    *,
    model="smollm2-135m",
    workdir=None,
    plan="4",
    group=64,
    format=("litert",),
    out=None,
    overwrite=False,
    data="pydoc",
):
    """Writes one plan into a folder, and says how true and fast it is.

    Args:
        model: What `--model` takes.
        workdir: A finished run, in place of `model`.
        plan: What `--plan` takes.
        group: Inputs per scale at 4 bits and below, for a `model`.
        format: Names of `FORMATS`.
        out: Folder to make. Default: saved_models/<model or run>-<plan>.
        overwrite: Replaces an earlier export there.
        data: Text on which file and simulation are compared.

    Returns:
        `(folder, rows)`: one dict a format.

    Raises:
        UserError: Anything the arguments got wrong, before a model is loaded.
    """
    for name in format:
        if name not in FORMATS:
            raise unknown_choice("format", name, FORMATS)
    one = _candidate(model, workdir, plan, group)
    own = one.plans[0]
    check_litert(own)
    folder = pathlib.Path(out or f"saved_models/{_name(one, own)}")
    _check_target(folder, overwrite)
    decoder = one.load("float32")
    frozen = freeze(decoder, own)
    tokens = _text(one.source, data, decoder.config.context)
    with _beside(folder, overwrite) as hidden:
        rows = [_litert(hidden, frozen, decoder, own, tokens)]
        rows[0]["predicted MB"] = (
            model_bytes(decoder.config, own, adapter_ranks(one.precision)) / 1e6
        )
        _save_tokenizer(one.source.tokenizer(), hidden)
        metadata = _metadata(one, own, rows, hidden)
        write_json(hidden / artefact.METADATA, metadata)
        card = model_card(metadata, rows)
        (hidden / artefact.CARD).write_text(card, "utf-8")
    return folder, rows


def _candidate(model, workdir, plan, group):
    """The one model and plan, its inputs rounded as the kernels round them."""
    if workdir:
        candidates = run_candidates([workdir], plan, activations=8)
    else:
        candidates = model_candidates(model, plan, group=group, activations=8)
    if sum(len(one.plans) for one in candidates) != 1:
        raise UserError(f"`--plan` must be one plan. Received: {plan}")
    return candidates[0]


def _name(one, plan):
    name = pathlib.PurePath(one.name).stem.replace("/", "-")
    return f"{name}-{plan.name.replace('.json', '').replace('/', '-')}"


def _check_target(folder, overwrite):
    if not folder.exists():
        return
    if not folder.is_dir() or (
        os.listdir(folder) and not (folder / artefact.METADATA).is_file()
    ):
        raise UserError(
            "`--out` must be a new folder, or one that bin/export wrote. "
            f"Received: {folder}, which holds something else"
        )
    if not overwrite and os.listdir(folder):
        raise UserError(
            "`--out` must be new, or come with --overwrite. "
            f"Received: {folder}, which holds an export"
        )


@contextlib.contextmanager
def _beside(folder, overwrite):
    """A hidden folder that takes the place of `folder` once it is whole."""
    hidden = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        hidden.mkdir(parents=True)
        yield hidden
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(hidden, folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _text(source, data, context):
    """Tokens of real text, from the start of a document."""
    from tfshrink.data.documents import load_documents

    documents = load_documents(data, "calibrate", 8)
    tokens = []
    for document in documents:
        tokens += source.tokenizer()(document)["input_ids"]
    return tokens[: min(COMPARED, context)]


def _litert(folder, frozen, decoder, plan, tokens):
    """Writes the file and compares it with the simulated plan."""
    start = time.monotonic()
    path = folder / artefact.LITERT
    size = write_litert(frozen, path)
    seconds = time.monotonic() - start
    session = Session(path, decoder.config.to_json())
    found = session.score(tokens)
    bits = np.asarray(plan.bits, "int32")
    wanted = np.asarray(decoder(np.array([tokens], "int32"), bits))[0]
    error = float(np.abs(found - wanted).max())
    return {
        "format": "litert",
        "status": "; ".join(["ok", *litert_notes(frozen)]),
        "MB": size / 1e6,
        "predicted MB": None,
        "largest error": error,
        "of": float(np.abs(wanted).max()),
        "same next token": float(
            np.mean(found.argmax(-1) == wanted.argmax(-1))
        ),
        "tokens/s": _speed(session, tokens),
        "seconds": seconds,
    }


def _speed(session, tokens):
    """Tokens/s of decoding behind the compared text."""
    session.reset()
    session.prefill(tokens)
    times = [time.monotonic()]
    count = min(TIMED, session.shape["context"] - len(tokens))
    for _ in range(count):
        session.step(tokens[0])
        times.append(time.monotonic())
    return float(1 / np.median(np.diff(times))) if count else None


def _save_tokenizer(tokenizer, folder):
    tokenizer.save_pretrained(folder)


def _metadata(one, plan, rows, folder):
    config = one.source.config
    tokenizer = one.source.tokenizer()
    files = {}
    for row in rows:
        path = folder / artefact.LITERT
        files[row["format"]] = {
            "file": path.name,
            "bytes": path.stat().st_size,
            "sha256": sha256_file(path),
        }
    return {
        "version": artefact.VERSION,
        "name": config.name,
        "run": one.name if one.workdir else None,
        "model": one.model,
        "source": one.source.identity,
        "config": config.to_json(),
        "plan": plan.to_json(),
        "plan_hash": plan.hash,
        "formats": files,
        "special_tokens": {
            name: value
            for name, value in tokenizer.special_tokens_map.items()
            if isinstance(value, str)
        },
        "environment": environment(),
    }
