"""bin/export's work: a plan of a model or a run, as files that ship."""

import dataclasses
import os
import pathlib
import re
import time

import numpy as np
from keras import ops

from tfshrink.deploy import artefact
from tfshrink.deploy.card import model_card
from tfshrink.deploy.exit_check import compare_exits
from tfshrink.deploy.exported_exits import exits_to_export
from tfshrink.deploy.formats import FORMATS
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.evaluation.candidate import model_candidates
from tfshrink.evaluation.candidate import run_candidates
from tfshrink.evaluation.environment import environment
from tfshrink.evaluation.size import adapter_ranks
from tfshrink.evaluation.size import model_bytes
from tfshrink.exit_spec import ExitSpec
from tfshrink.files import atomic_folder
from tfshrink.files import write_json
from tfshrink.kv_spec import KVSpec
from tfshrink.kv_spec import RATED_LENGTH
from tfshrink.models.kv_codecs import open_codecs
from tfshrink.models.plain_decoder import check_plain_decoder
from tfshrink.models.streaming import streamed_hidden
from tfshrink.structure import plan_tensor

COMPARED = 64  # tokens that are run by both sides, at least
SPLIT = "calibrate"  # of the text they are from


def export(
    *,
    model="smollm2-135m",
    workdir=None,
    plan="4",
    group=64,
    kv=None,
    exit=None,
    format=("litert",),
    out=None,
    overwrite=False,
    data="pydoc",
):
    """Writes a plan into a folder, and says how true and fast it is.

    Args:
        model: What `--model` takes.
        workdir: A finished run, in place of `model`.
        plan: What `--plan` takes; several split by `;` make a SavedModel that
            takes the bits with every call.
        group: Inputs per scale at 4 bits and below, for a `model`.
        kv: Codec of the K/V cache (`KVSpec.parse`) in place of the plan's own;
            its rate is of 2,048 tokens, or the model's limit.
        exit: Exit policy (`ExitSpec.parse`) of a `workdir` with exits, by which
            tokens of a LiteRT file leave early; `None` is that of the plan,
            and without one all blocks are run.
        format: Names of `FORMATS`.
        out: Folder to make. Default: saved_models/<model or run>-<plan>, the
            exit policy behind it.
        overwrite: Replaces an earlier export there.
        data: Text on which files and simulation are compared.

    Returns:
        `(folder, rows)`: one dict a format.

    Raises:
        UserError: Anything the arguments got wrong, before a model is loaded.
    """
    for name in format:
        if name not in FORMATS:
            raise unknown_choice("format", name, FORMATS)
    makers = {}
    for name in dict.fromkeys(format):
        one = _candidate(model, workdir, plan, group, FORMATS[name].activations)
        check_plain_decoder(
            one.source.config, "workdir" if workdir else "model"
        )
        one = one if kv is None else _with_codec(one, KVSpec.parse(kv))
        one, exit = _without_exit(one, exit)
        exits = None
        if exit is not None:
            exits = exits_to_export(exit, format, one)
        makers[name] = one, FORMATS[name](one.plans, one.source.config, exits)
    folder = pathlib.Path(out or f"saved_models/{_name(one, exit)}")
    _check_target(folder, overwrite)
    tokens = _text(one.source, data, _compared(one.plans[0]))
    with atomic_folder(folder, "--out") as hidden:
        rows = [
            _row(name, *maker, hidden, tokens) for name, maker in makers.items()
        ]
        one.source.tokenizer().save_pretrained(hidden)
        metadata = _metadata(makers, hidden)
        write_json(hidden / artefact.METADATA, metadata)
        card = model_card(metadata, rows, len(tokens))
        (hidden / artefact.CARD).write_text(card, "utf-8")
    return folder, rows


def _candidate(model, workdir, plan, group, activations):
    """The model and its plans, inputs rounded as the format rounds them."""
    if workdir:
        found = run_candidates([workdir], plan, activations=activations)
    else:
        found = model_candidates(
            model, plan, group=group, activations=activations
        )
    if len(found) != 1:
        raise UserError(
            "`--plan` must name plans of one group size. "
            f"Received: {plan}, of {len(found)}"
        )
    return found[0]


def _with_codec(one, spec):
    plans = [
        dataclasses.replace(plan, kv=spec.to_json(), name=f"{plan.name} {spec}")
        for plan in one.plans
    ]
    return dataclasses.replace(one, plans=plans)


def _without_exit(one, exit):
    """Plans without policies, and the policy that is exported as text."""
    own = {
        str(ExitSpec.from_json(plan.exit)) for plan in one.plans if plan.exit
    }
    if exit is None and own:
        if len(own) > 1 or not all(plan.exit for plan in one.plans):
            raise UserError(
                "`--plan` must be plans of one exit policy, or --exit name it. "
                f"Received: {', '.join(sorted(own))}"
            )
        (exit,) = own
    plans = [dataclasses.replace(plan, exit=None) for plan in one.plans]
    return dataclasses.replace(one, plans=plans), exit


def _name(one, exit):
    parts = [pathlib.PurePath(one.name).name]
    for plan in one.plans:
        text = plan.name.removesuffix(".json")
        parts.append(pathlib.PurePath(text).name)
    parts += [exit] if exit else []
    return re.sub(r"[^\w.-]+", "-", "-".join(parts))


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


def _compared(plan):
    """Tokens that are run by both sides: some of them see a codec at work."""
    spec = KVSpec.from_json(plan.kv) if plan.kv else None
    if spec is None or spec.codec == "identity":
        return COMPARED
    return spec.window + 2 * spec.block + COMPARED


def _text(source, data, count):
    """So many tokens of real text, from the start of a document."""
    from tfshrink.data.documents import load_documents
    from tfshrink.data.pack import tokenize

    documents = load_documents(data, SPLIT, 8)
    parts = tokenize(documents, source.tokenizer())
    tokens = [int(token) for part in parts for token in part]
    tokens = tokens[: min(count, source.config.context // 2)]
    if len(tokens) < 2:
        raise UserError(
            f"`--data` must hold at least two tokens. Received: {data}"
        )
    return tokens


def _row(name, one, maker, folder, tokens):
    """Writes a format and compares it with the simulated plan."""
    start = time.monotonic()
    model = one.load("float32")
    path = folder / maker.file
    codecs = _codecs(one, maker.plans[0])
    notes = maker.write(model, path, codecs)
    seconds = time.monotonic() - start
    found, rate = maker.run(model, path, tokens)
    plan = maker.plans[0]
    bits = plan_tensor(model.config, plan)
    wanted = _logits(model, tokens, bits, codecs)
    same = found.argmax(-1) == wanted.argmax(-1)
    predicted = None
    if name == "litert":  # sizes are predicted of what LiteRT holds
        ranks = adapter_ranks(one.precision)
        predicted = model_bytes(model.config, plan, ranks) / 1e6
    row = {
        "format": name,
        "status": "; ".join(["ok", *notes]),
        "MB": artefact.size(path) / 1e6,
        "predicted MB": predicted,
        "largest error": float(np.abs(found - wanted).max()),
        "of": float(np.abs(wanted).max()),
        "same next token": float(same.mean()),
        "tokens/s": rate,
        "seconds": seconds,
    }
    if maker.exits is not None:
        row |= compare_exits(model, path, maker.exits, tokens, bits)
    return row


def _codecs(one, plan):
    """The `BlockCodecs` of a plan, or `None`."""
    if plan.kv is None:
        return None
    context = one.source.config.context
    spec = KVSpec.from_json(plan.kv)
    return open_codecs(spec, one.source, min(RATED_LENGTH, context))


def _logits(model, tokens, bits, codecs):
    """What the simulated plan says of each token, `(T, V)`."""
    tokens = ops.convert_to_tensor([tokens], "int32")
    if codecs is None:
        return np.asarray(model(tokens, bits))[0]
    hidden = streamed_hidden(model, tokens, codecs, bits)
    return np.asarray(model.logits(hidden, bits))[0]


def _metadata(makers, folder):
    one, maker = next(iter(makers.values()))
    config, source = one.source.config, one.source
    formats = {}
    for name, (_, own) in makers.items():
        path = folder / own.file
        formats[name] = {
            "file": own.file,
            "bytes": artefact.size(path),
            "sha256": artefact.digest(path),
            "activations": own.activations,
        }
    special = source.tokenizer().special_tokens_map
    return {
        "version": artefact.VERSION,
        "name": config.name,
        "run": one.name if one.workdir else None,
        "model": one.model,
        "source": source.identity,
        "config": config.to_json(),
        "plan": maker.plans[0].to_json(),
        "plan_hash": maker.plans[0].hash,
        "plans": [plan.to_json() for plan in maker.plans],
        "exit": maker.exits and maker.exits.to_json(),
        "formats": formats,
        "special_tokens": {
            key: text for key, text in special.items() if isinstance(text, str)
        },
        "environment": environment(),
    }
