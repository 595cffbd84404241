"""certify's work: plans, runs and exports on prompts no search has seen."""

import dataclasses
import pathlib
import time

import numpy as np

from tfshrink.data.progress_bar import progress_bar
from tfshrink.decoder_config import DecoderConfig
from tfshrink.deploy.artefact import Artefact
from tfshrink.deploy.artefact import digest
from tfshrink.errors import UserError
from tfshrink.evaluation.environment import environment
from tfshrink.evaluation.results import command_line
from tfshrink.files import sha256_json
from tfshrink.files import write_json
from tfshrink.models.load import load_model
from tfshrink.plan import Plan
from tfshrink.search.evaluator import run_identity
from tfshrink.search.plan_codecs import PlanCodecs
from tfshrink.search.plan_exits import PlanExits
from tfshrink.search.plan_judges import plan_identity
from tfshrink.search.plan_judges import plan_judges
from tfshrink.search.settings import KV_LENGTH
from tfshrink.stl.certificate import certificate
from tfshrink.stl.certificate import Verdict
from tfshrink.stl.logit_judge import check_shown
from tfshrink.stl.logit_judge import logit_signals
from tfshrink.stl.plan_judge import check_observable
from tfshrink.stl.reference import model_reference
from tfshrink.stl.requirement import DEFAULTS
from tfshrink.stl.requirement import Requirement
from tfshrink.stl.streamed import streamed_signals

SPLIT = "test"  # which no search, sensitivity or calibration reads
PART = 16  # prompts that are judged at once
FILE = "certificate.json"
SEEN = ("jsd", "factual")  # of the default properties, by an artefact


def certify(
    subject,
    plans,
    *,
    artifact=(),
    reference_artifact=None,
    prompts=300,
    confidence=0.95,
    stream=False,
    kv_length=KV_LENGTH,
    output_file=FILE,
    dry_run=False,
):
    """Counts how often plans violate a requirement, and bounds the rate.

    Args:
        subject: `Subject`.
        plans: What `--plan` takes, several split by `;`; `None` with an
            artefact.
        artifact: Folders of bin/export, run as they are.
        reference_artifact: An export that response times are relative to.
        prompts: Prompts, at most.
        confidence: With which all bounds hold together.
        stream: Holds one block of a `model` in memory at a time, for models
            that do not fit.
        kv_length: Cached tokens that the rates of K/V codecs are of; prompts
            are read through the cache of a plan that names one. Their
            tokens leave early by the exit policy of a plan that has one.
        output_file: JSON file that takes the certificate.
        dry_run: Judges one part of the prompts, writes nothing.

    Returns:
        The certificate, a dict.

    Raises:
        UserError: Anything the arguments got wrong.
    """
    if not 0.5 <= confidence < 1.0:
        raise UserError(
            f"`confidence` must lie in [.5, 1). Received: {confidence}"
        )
    if not plans and not artifact:
        raise UserError(
            "`plan` or `artifact` must say what is certified. Received: none"
        )
    requirement = outside = subject.requirement()
    if artifact:
        if subject.formula is None:
            outside = Requirement(
                " and ".join(f"({DEFAULTS[name]})" for name in SEEN),
                relax=subject.relax_thresholds,
            )
        check_shown(outside, timed=reference_artifact is not None)
    if plans:
        check_observable(requirement)
    elif not subject.workdir:
        model = Artefact(artifact[0]).metadata["model"]
        subject = dataclasses.replace(subject, model=model)
    candidate = subject.candidate(plans or "32")
    source = candidate.source
    tokenizer = source.tokenizer()
    text = subject.load_prompts(tokenizer, SPLIT, prompts)
    requirement.check_lengths(text.lengths)
    if dry_run:
        text = text[:PART]
    codecs = PlanCodecs(candidate, text.lengths, kv_length)
    exits = PlanExits(candidate, codecs)
    for plan in candidate.plans:
        codecs.check(plan.kv)
        exits.check(plan.exit)
    if stream:
        _check_stream(subject, plans, artifact)
    judges = [
        _artefact_judge(folder, source, reference_artifact, outside)
        for folder in artifact
    ]
    if stream:
        verdicts = _streamed(subject, candidate, requirement, text)
    else:
        if plans:
            judges += plan_judges(
                candidate, requirement, codecs, exits, subject.dtype
            )
        model = load_model(source, dtype=subject.dtype)
        verdicts = _judged(judges, model, text)
    found = certificate(
        verdicts,
        requirement=requirement,
        prompts={
            "count": len(text),
            "tokens": text.tokens.shape[1],
            "split": SPLIT,
            "data": sorted(set(text.names)),
            "text": text.identity,
            "hash": sha256_json(text.tokens),
        },
        confidence=confidence,
        more={
            "model": source.identity,
            "run": run_identity(candidate),
            "environment": environment(),
            "command": command_line(),
        },
    )
    for plan in found["plans"]:
        for row in plan["worst"]:
            row["text"] = _shown(tokenizer, text, row["prompt"], row["token"])
    if not dry_run:
        write_json(output_file, found)
    return found


def _check_stream(subject, plans, artifact):
    """Raises a `UserError` for what cannot be streamed."""
    if subject.workdir or artifact or not plans:
        raise UserError(
            "`stream` takes plans of a model: what a run or an export holds "
            f"comes whole. Received: {subject.workdir or artifact or 'no plan'}"
        )


def _streamed(subject, candidate, requirement, text):
    """Verdicts of plans, one block of the model in memory at a time."""
    layers = candidate.source.config.layers
    tokens = int(text.lengths.sum())
    with progress_bar("blocks", layers) as show:
        found = streamed_signals(
            candidate.source,
            candidate.precision,
            candidate.plans,
            text,
            dtype=subject.dtype,
            scales=subject.scales,
            progress=lambda done: show(done, done * tokens),
        )
    verdicts = []
    for plan, signals in zip(candidate.plans, found, strict=True):
        verdict = Verdict(plan.name, plan_identity(plan))
        verdict.add(
            requirement.margins(signals, text.lengths),
            requirement.explain(signals, text.lengths),
        )
        verdicts.append(verdict)
    return verdicts


def _judged(judges, model, text):
    """Verdicts of all judges, part by part of the prompts."""
    with progress_bar("certify", len(text)) as show:
        for start in range(0, len(text), PART):
            part = text[start : start + PART]
            reference = model_reference(model, part.tokens)
            for verdict, own, signals_of in judges:
                signals = signals_of(part, reference)
                verdict.add(
                    own.margins(signals, part.lengths),
                    own.explain(signals, part.lengths),
                )
            done = min(start + PART, len(text))
            show(done, int(text.lengths[:done].sum()))
    return [verdict for verdict, *_ in judges]


def _artefact_judge(folder, source, reference_artifact, requirement):
    """The same of an export."""
    from tfshrink.deploy.litert.session import Session

    artefact = Artefact(folder)
    config = artefact.metadata["config"]
    if DecoderConfig.from_json(config) != source.config:
        raise UserError(
            "`artifact` must be of the model it is compared with, "
            f"{source.name}. Received: {folder}, {config['name']}"
        )
    session = Session(artefact.path, config)
    other = None
    if reference_artifact:
        reference = Artefact(reference_artifact)
        other = Session(reference.path, reference.metadata["config"])

    def seconds_of(tokens):
        return step_seconds(session, tokens), step_seconds(other, tokens)

    def logits_of(tokens):
        session.reset()
        return session.score(tokens)

    verdict = Verdict(
        pathlib.Path(folder).name,
        {
            "kind": "exported artefact",
            "formula": str(requirement.formula),
            "artefact_sha256": digest(artefact.path),
            "plan_hash": Plan.from_json(artefact.metadata["plan"]).hash,
        },
    )
    return (
        verdict,
        requirement,
        lambda part, known: logit_signals(
            logits_of, part, known, seconds_of=other and seconds_of
        ),
    )


def step_seconds(session, tokens):
    """Seconds of each token, one after the other, `(T,)`."""
    session.reset()
    found = []
    for token in tokens:
        start = time.perf_counter()
        session.step(int(token))
        found.append(time.perf_counter() - start)
    return np.array(found)


def _shown(tokenizer, text, prompt, token):
    """The last words of a prompt up to the token in question."""
    stop = int(text.lengths[prompt]) if token is None else token + 1
    own = text.tokens[prompt, max(0, stop - 16) : stop]
    return tokenizer.decode([int(t) for t in own])
