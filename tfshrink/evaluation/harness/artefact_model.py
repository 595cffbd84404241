"""An export as the harness sees it."""

from tfshrink.decoder_config import DecoderConfig
from tfshrink.deploy.sampling import Sampler
from tfshrink.deploy.sampling import Sampling
from tfshrink.evaluation.artefact_judge import scores
from tfshrink.evaluation.harness.bar import harness_bar
from tfshrink.evaluation.harness.language_model import LanguageModel


def artefact_model(judge):
    """The `LanguageModel` of an export.

    Args:
        judge: `ArtefactJudge`; its session runs the file.
    """
    config = DecoderConfig.from_json(judge.config)
    return LanguageModel(
        judge.material.tokenizer,
        config,
        score=lambda rows: _scored(judge, rows),
        proceed=lambda *asked: _proceeded(judge, config.eos, *asked),
        window=min(judge.protocol.context, config.context),
    )


def _scored(judge, rows):
    """Nats and ranks of each row's tokens but the first."""
    session, found, tokens = judge.session, [], 0
    with harness_bar(judge.material, len(rows)) as show:
        for row in rows:
            session.reset()
            found.append(scores(session.score(row)[:-1], row[1:]))
            tokens += len(row)
            show(len(found), tokens)
    return found


def _proceeded(judge, eos, prompts, *asked):
    """New tokens of each prompt."""
    found, tokens = [], 0
    with harness_bar(judge.material, len(prompts)) as show:
        for prompt in prompts:
            found.append(_continued(judge.session, eos, prompt, *asked))
            tokens += len(found[-1])
            show(len(found), tokens)
    return found


def _continued(session, eos, prompt, count, stopped, settings):
    """New tokens behind a prompt, to a stop."""
    defaults = {"temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0}
    choose = Sampler(Sampling(**(defaults | settings)))
    session.reset()
    logits, made = session.prefill(prompt), []
    for _ in range(count):
        token = choose(logits)
        if token in eos:
            break
        made.append(token)
        if stopped(made):
            break
        logits = session.step(token)
    return made
