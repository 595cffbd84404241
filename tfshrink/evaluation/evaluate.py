"""evaluate's work: plans of a model or of finished runs, side by side."""

import contextlib
import dataclasses
import gc
import os
import time

from tfshrink.data.progress_bar import counting_bar
from tfshrink.decoder_config import DecoderConfig
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.evaluation.candidate import model_candidates
from tfshrink.evaluation.candidate import run_candidates
from tfshrink.evaluation.material import Material
from tfshrink.evaluation.memory import peak_memory
from tfshrink.evaluation.plan_rows import plan_codecs
from tfshrink.evaluation.plan_rows import plan_row
from tfshrink.evaluation.plan_rows import reference_row
from tfshrink.evaluation.plan_rows import with_ratios
from tfshrink.evaluation.protocol import Protocol
from tfshrink.evaluation.results import build_results
from tfshrink.evaluation.results import read_results
from tfshrink.evaluation.results import write_results
from tfshrink.evaluation.speed import REPEATS
from tfshrink.exit_spec import ExitSpec
from tfshrink.files import sha256_json
from tfshrink.kv_spec import KVSpec
from tfshrink.models.kv_codecs import check_spec

PLANS = "8;4"  # of a model, when none is named
FULL_PLAN = "16"  # the same beside codecs of the K/V cache
CONTEXT, KV_CONTEXT = 512, 2048  # tokens of a window
SCALES = ("mse", "rtn")


def evaluate(
    *,
    model="smollm2-135m",
    workdir=(),
    artifact=(),
    plan=None,
    kv=(),
    group=64,
    scales="mse",
    activations=None,
    tasks=("perplexity",),
    data="pydoc",
    limit=None,
    context=None,
    stride=None,
    dtype="float32",
    batch_size=4,
    lm_eval_tasks=None,
    json=None,
    dry_run=False,
):
    """Judges plans against full precision, on the same text.

    Args:
        model: What `--model` takes; not used with `workdir`.
        workdir: Run folders; each also gets a `results.json` of its own,
            unless `json` is given.
        artifact: Folders of bin/export, judged by running the files; with
            neither `workdir` nor `plan` beside nothing but full precision.
        plan: What `--plan` takes, several split by `;`. Default: the plans
            a run trained, or 8 and 4 bits.
        kv: Codecs of the K/V cache (`KVSpec.parse`), each for all plans;
            perplexity then counts the second half of each window. With no
            plan beside, weights stay at full precision.
        group: Inputs per scale at 4 bits and below, for plans of a `model`
            that name none; 0 is per channel.
        scales: How the scales of a `model` are fitted: `"mse"` or `"rtn"`.
        activations: 8 simulates plans as they ship, inputs rounded to int8;
            `None` as they were trained, or float.
        tasks: As in `Protocol`, like the next seven.
        data: Text, or SQuAD.
        limit: Windows of text, or questions, at most.
        context: Tokens in a window; `None` is 512, with `kv` 2,048.
        stride: Tokens to the next window.
        dtype: Compute type.
        batch_size: Windows or questions at once.
        lm_eval_tasks: Folder of task files for lm-evaluation-harness.
        json: File that takes the results.
        dry_run: Judges one batch, writes nothing.

    Returns:
        The dict of `results.json`, with `protocol`, `memory` and, in each
        row of `plans`, the `model` (and `run`) it belongs to. Of a run that
        translates, that of `translation.judge_translation`.

    Raises:
        UserError: Anything the arguments got wrong, before a model is
            loaded where that can be known.
    """
    start = time.monotonic()
    specs = [KVSpec.parse(text) for text in kv]
    context = context or (KV_CONTEXT if specs else CONTEXT)
    protocol = Protocol(
        tasks=tuple(tasks),
        data=data,
        limit=limit,
        context=context,
        stride=stride,
        first=context // 2 if specs else 0,
        dtype=dtype,
        batch_size=batch_size,
        lm_eval_tasks=lm_eval_tasks,
    )
    if scales not in SCALES:
        raise unknown_choice("scales", scales, SCALES)
    if json and os.path.exists(json) and not os.path.isfile(json):
        raise UserError(
            f"`json` must be a file. Received: {json}, which is none"
        )
    candidates = _candidates(
        model,
        workdir,
        artifact,
        plan or (FULL_PLAN if specs and not workdir else None),
        group,
        scales,
        activations,
    )
    for one in candidates:
        _check_exits(one.plans)
    if specs:
        candidates = [_with_codecs(one, specs) for one in candidates]
    if any(one.source.config.encoder_layers for one in candidates):
        from tfshrink.evaluation.translation import evaluate_translation

        return evaluate_translation(
            candidates, protocol, json=json, dry_run=dry_run
        )
    texts, references, parts = {}, {}, []
    for one in candidates:
        key = _key(one)
        protocol.check_model(one.source.config)
        for plan in one.plans:
            if plan.kv is not None:
                spec = KVSpec.from_json(plan.kv)
                check_spec(spec, one.source.config, protocol.context)
        if key not in texts:
            texts[key] = Material.load(protocol, one.source)
            if dry_run:
                texts[key] = texts[key].sample(batch_size)
    for one in candidates:
        key, material = _key(one), texts[_key(one)]
        known = references.get(key)
        reference, rows = _judge(one, protocol, material, known, dry_run)
        references[key] = reference
        part = _results([one], [reference], [rows], protocol, material, start)
        parts.append((one, reference, rows))
        if one.workdir and not json and not dry_run:
            _write_into(one.workdir, part)
    material = texts[_key(candidates[0])]
    for folder in artifact:
        one, reference, rows = parts[0]
        rows.append(_run_artefact(folder, one, protocol, material, reference))
    results = _results(*zip(*parts, strict=True), protocol, material, start)
    if json and not dry_run:
        write_results(json, results)
    return results


def _candidates(model, workdir, artifact, plan, group, scales, activations):
    """What is simulated; an export alone has only its full precision."""
    if workdir:
        return run_candidates(workdir, plan, activations=activations)
    if artifact and not plan:
        from tfshrink.deploy.artefact import Artefact

        model = Artefact(artifact[0]).metadata["model"]
        return [dataclasses.replace(model_candidates(model, "32")[0], plans=[])]
    return model_candidates(
        model,
        plan or PLANS,
        group=group,
        scales=scales,
        activations=activations or 0,
    )


def _check_exits(plans):
    """Raises a `UserError` where tokens leave early: that is judged apart."""
    for plan in plans:
        if plan.exit:
            raise UserError(
                f"`plan` {plan.name} must stand alone: a plan with an exit "
                "policy is judged token by token along its own text, as "
                "bin/evaluate does with one --plan=FILE.json or with --exit. "
                f"Received: {ExitSpec.from_json(plan.exit)}"
            )


def _with_codecs(candidate, specs):
    """The candidate with each of its plans at each codec."""
    plans = [
        dataclasses.replace(plan, kv=spec.to_json(), name=f"{plan.name} {spec}")
        for spec in specs
        for plan in candidate.plans
    ]
    return dataclasses.replace(candidate, plans=plans)


def _run_artefact(folder, one, protocol, material, reference):
    """The row of an export."""
    from tfshrink.evaluation.artefact_judge import ArtefactJudge

    with counting_bar("LiteRT", material.rows) as on_rows:
        judge = ArtefactJudge(folder, protocol, material, on_rows=on_rows)
        if DecoderConfig.from_json(judge.config) != one.source.config:
            raise UserError(
                "`--artifact` must be of the model that stands beside it, "
                f"{one.source.name}. Received: {folder}, {judge.config['name']}"
            )
        row = judge.measure()
    row["compression"] = reference["bytes"] / row["bytes"]
    return with_ratios(row, reference)


def _write_into(workdir, results):
    """Writes a run's results; what else training noted there stays."""
    noted = {}
    with contextlib.suppress(UserError):  # none yet, or a damaged one
        noted = read_results(workdir)
    write_results(os.path.join(workdir, "results.json"), {**noted, **results})


def _key(candidate):
    """Candidates of one key share text, tokens and reference."""
    return sha256_json(candidate.source.identity)


def _judge(candidate, protocol, material, reference, dry_run):
    """Measures a candidate's plans, and the reference if it is not known."""
    from tfshrink.evaluation.judge import Judge

    repeats = 1 if dry_run else REPEATS
    plans = len(candidate.plans) + (reference is None)
    with counting_bar(candidate.name, plans * material.rows) as on_rows:
        options = {"repeats": repeats, "on_rows": on_rows}
        if reference is None:
            reference = reference_row(
                candidate.source, protocol, material, **options
            )
        model, judges, rows = candidate.load(protocol.dtype), {}, []
        for plan in candidate.plans:
            key = sha256_json(plan.kv)
            if key not in judges:
                judges = None
                gc.collect()  # compiled functions hold weights in circles
                judges = {  # one at a time: each holds compiled functions
                    key: Judge(
                        model,
                        protocol,
                        material,
                        codecs=plan_codecs(plan, candidate.source, protocol),
                        **options,
                    )
                }
            rows.append(plan_row(candidate, plan, judges[key], reference))
    return reference, rows


def _results(candidates, references, rows, protocol, material, start):
    text = material.text
    return build_results(
        ", ".join(dict.fromkeys(one.source.name for one in candidates)),
        references[0],
        sum(rows, []),
        seconds=time.monotonic() - start,
        protocol={
            **protocol.to_json(),
            "tokens": text and text.tokens,
            "windows": text and len(text.examples),
            "text": text and text.identity,
            "describe": text and text.describe(protocol),
        },
        memory=peak_memory(),
    )
