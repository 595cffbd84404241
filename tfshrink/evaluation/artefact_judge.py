"""Exports, measured by running the file itself."""

import time

import numpy as np

from tfshrink.deploy.artefact import Artefact
from tfshrink.deploy.artefact import size
from tfshrink.deploy.litert.session import Session
from tfshrink.deploy.sampling import Sampler
from tfshrink.deploy.sampling import Sampling
from tfshrink.evaluation.judge import DECODED
from tfshrink.evaluation.judge import PROMPT
from tfshrink.evaluation.quality_meter import summarize
from tfshrink.evaluation.size import effective_bits
from tfshrink.evaluation.speed import rates
from tfshrink.evaluation.speed import REPEATS
from tfshrink.evaluation.speed import timed
from tfshrink.evaluation.squad import answer
from tfshrink.evaluation.squad import NEW_TOKENS
from tfshrink.evaluation.squad_metrics import squad_scores
from tfshrink.plan import Plan


class ArtefactJudge:
    """Measures an export as `Judge` measures a simulated plan.

    Args:
        folder: Folder of bin/export.
        protocol: `Protocol`; its compute type is the file's own.
        material: `Material` in the tokens of the same model.
        repeats: Measurements of a speed.
        on_rows: As for `Judge`.
        format: Which of its formats is run: `"litert"` or `"saved_model"`.
        number: Which of the plans that a SavedModel takes bits of.
    """

    def __init__(
        self,
        folder,
        protocol,
        material,
        *,
        repeats=REPEATS,
        on_rows=None,
        format="litert",
        number=0,
    ):
        self.artefact = Artefact(folder, format)
        self.format = format
        self.config = self.artefact.metadata["config"]
        self.plan = Plan.from_json(
            plans_of(self.artefact.metadata)[number], str(folder)
        )
        self.protocol = protocol
        self.material = material
        self.repeats = repeats
        self.on_rows = on_rows or (lambda rows, tokens: None)
        self.session = SESSIONS[format](self)

    def measure(self):
        """Runs the tasks of the protocol; returns one dict of all they found.

        Its `name`, `bytes` (of the file), `effective_bits` and `plan` too.
        """
        from tfshrink.decoder_config import DecoderConfig

        config = DecoderConfig.from_json(self.config)
        found = {
            "name": f"{self.plan.name} ({NAMES[self.format]})",
            "model": self.config["name"],
            "group": self.plan.group,
            "bytes": size(self.artefact.path),
            "effective_bits": effective_bits(config, self.plan),
            "plan": self.plan.to_json(),
            "artefact": self.artefact.folder.name,
        }
        for task in self.protocol.own_tasks:
            found.update(MEASURES[task](self))
        if self.material.harness:
            from tfshrink.evaluation.harness.artefact_model import (
                artefact_model,
            )

            model = artefact_model(self)
            found["lm_eval"] = self.material.harness.measure(model)
        return found

    def evaluation_speed(self):
        """Tokens/s of scoring a window, as `rates`."""
        session, context = self.session, self.protocol.context
        vocabulary = self.config["vocabulary"]
        random = np.random.default_rng(0)
        tokens = random.integers(0, vocabulary, context, "int32")

        def evaluate():
            session.reset()
            session.score(tokens)

        return rates(timed(evaluate, repeats=self.repeats), context)

    def continuation(self, prompt, count):
        """The likeliest continuation of a prompt: a list of tokens."""
        self.session.reset()
        choose = Sampler(Sampling(temperature=0.0, repetition_penalty=1.0))
        logits, made = self.session.prefill(prompt), []
        for _ in range(count):
            token = choose(logits)
            if token in self.config["eos"]:
                break
            made.append(token)
            logits = self.session.step(token)
        return made


def plans_of(metadata):
    """The plans that an export holds: a list of their JSON forms."""
    return metadata.get("plans") or [metadata["plan"]]


def _litert(judge):
    return Session(judge.artefact.path, judge.config)


def _saved_model(judge):
    from tfshrink.deploy.saved_model.session import SavedModelSession

    plans = plans_of(judge.artefact.metadata)
    bits = judge.plan.bits if len(plans) > 1 else None
    return SavedModelSession(
        judge.artefact.path, judge.config, judge.plan, bits=bits
    )


SESSIONS = {"litert": _litert, "saved_model": _saved_model}
NAMES = {"litert": "LiteRT", "saved_model": "SavedModel"}


def _perplexity(judge):
    nats, ranks, masks = [], [], []
    for batch in judge.material.text.examples.batches(1):
        tokens = np.asarray(batch["tokens"])[0]
        judge.session.reset()
        own, rank = scores(judge.session.score(tokens)[:-1], tokens[1:])
        nats.append(own)
        ranks.append(rank)
        masks.append(batch["mask"][0, 1:])
        judge.on_rows(1, len(tokens))
    return summarize(*map(np.concatenate, (nats, ranks, masks)))


def scores(logits, targets):
    """Negative log-likelihood and rank of the targets.

    Args:
        logits: float32 `(N, V)`.
        targets: Integers `(N,)`.

    Returns:
        `(nats, ranks)`, as `token_scores` has them.
    """
    peak = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - peak).sum(axis=1, dtype="float64"))
    own = np.take_along_axis(logits, np.asarray(targets)[:, None], 1)
    places = np.arange(logits.shape[1])
    ties = (logits == own) & (places < np.asarray(targets)[:, None])
    ranks = ((logits > own) | ties).sum(axis=1)
    return total + (peak - own)[:, 0], ranks


def _squad(judge):
    material = judge.material
    predictions = answer(
        material.prompts,
        lambda prompts: [
            judge.continuation(prompt, NEW_TOKENS) for prompt in prompts
        ],
        material.tokenizer.decode,
        batch_size=1,
        on_batch=lambda rows: judge.on_rows(rows, 0),
    )
    return squad_scores(
        predictions, [list(one.answers) for one in material.questions]
    )


def _speed(judge):
    evaluation = judge.evaluation_speed()
    decoding = rates(_decoding_seconds(judge), DECODED)
    return {
        "evaluation_tokens_per_second": evaluation["median"],
        "decoding_tokens_per_second": decoding["median"],
        "speed": {"evaluation": evaluation, "decoding": decoding},
    }


def _decoding_seconds(judge):
    """Seconds of `DECODED` steps behind a prompt, once a repeat."""
    session, seconds = judge.session, []
    for _ in range(judge.repeats + 1):
        session.reset()
        session.prefill(list(range(PROMPT)))
        session.step(0)
        start = time.perf_counter()
        for token in range(DECODED):
            session.step(token)
        seconds.append(time.perf_counter() - start)
    return seconds[1:]  # the first one binds buffers


MEASURES = {"perplexity": _perplexity, "speed": _speed, "squad": _squad}
