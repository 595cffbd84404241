"""bin/generate's work: one prompt continued by a model or a run, streamed."""

import time

import numpy as np

from tfshrink.errors import UserError
from tfshrink.evaluation.candidate import model_candidates
from tfshrink.evaluation.candidate import run_candidates
from tfshrink.evaluation.translator import one_source
from tfshrink.exit_spec import ExitSpec
from tfshrink.exit_spec import NO_EXIT
from tfshrink.kv_spec import KVSpec
from tfshrink.kv_spec import RATED_LENGTH
from tfshrink.models.kv_codecs import check_spec
from tfshrink.models.kv_codecs import open_codecs
from tfshrink.structure import plan_tensor

_FULL = "32"  # the plan of full precision
SAMPLED = {"temperature": 0.8, "repetition_penalty": 1.1}
GREEDY = {"temperature": 0.0, "repetition_penalty": 1.0}


def generate(
    prompt,
    show,
    *,
    model="smollm2-135m",
    workdir=None,
    plan=None,
    kv=None,
    exit=None,
    group=64,
    dtype="float32",
    max_new_tokens=128,
    temperature=None,
    top_k=0,
    top_p=0.95,
    repetition_penalty=None,
    seed=0,
    stop=(),
):
    """Continues a prompt and shows the text as it comes.

    A run that translates translates the prompt instead.

    Args:
        prompt: Text; empty begins with the model's start token.
        show: Called with each piece of text.
        model: What `--model` takes.
        workdir: A finished run, in place of `model`.
        plan: What `--plan` takes; `None` is full precision.
        kv: Codec of the K/V cache (`KVSpec.parse`), its rate that of a cache
            of 2,048 tokens, or of a longer text; `None` is the plan's own.
        exit: Exit policy (`ExitSpec.parse`) of a run with exits; `None` is the
            plan's own, `none` takes all through all blocks.
        group: Inputs per scale at 4 bits and below, for a `model`.
        dtype: Compute type.
        max_new_tokens: New tokens at most; less where the context ends.
        temperature: 0 takes the likeliest token. `None`, here and of the
            penalty, is as `SAMPLED` says, or, where it translates, `GREEDY`.
        top_k: Keep only the likeliest tokens; 0 keeps all.
        top_p: Keep the likeliest tokens of together this probability.
        repetition_penalty: Above 1 discourages tokens that occurred.
        seed: The same seed makes the same text.
        stop: Texts that end the continuation.

    Returns:
        Dict of the prompt, the text, how many tokens were made, seconds to
        the first of them and to the end (compiling included), tokens/s from
        the first one on, `exit`, the policy by which they left, or `None`, and
        `layers`, the blocks that a token ran, in the mean.

    Raises:
        UserError: Anything the flags got wrong.
    """
    from tfshrink.models.detokenize import text_pieces
    from tfshrink.models.detokenize import until
    from tfshrink.models.prompts import sampling_settings

    candidate = _candidate(model, workdir, plan, group)
    translates = candidate.source.config.encoder_layers
    sampling = {
        **(GREEDY if translates else SAMPLED),
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
    }
    typed = {
        "temperature": temperature,
        "repetition_penalty": repetition_penalty,
    }
    sampling |= {name: x for name, x in typed.items() if x is not None}
    sampling_settings(candidate.source.config, **sampling)  # before loading
    spec = _spec(candidate, kv, max_new_tokens)
    exits = _exits(candidate.plans[0].exit, exit)
    generator = _generator(candidate, plan, dtype, exits)
    tokens, given = generator.encode(prompt), {}
    config = candidate.source.config
    if config.encoder_layers:
        source = generator.tokenizer(prompt)["input_ids"]
        given["sources"] = one_source(source, config)
        tokens = [config.bos]
        max_new_tokens = min(max_new_tokens, config.context - len(tokens))
    if spec is not None:
        length = _rated_length(candidate, len(tokens) + max_new_tokens)
        generator.codecs = open_codecs(spec, candidate.source, length)
    start, times = time.monotonic(), []
    tokens = generator.stream(
        tokens, max_new_tokens=max_new_tokens, **given, **sampling
    )
    text = ""
    pieces = text_pieces(_timed(tokens, times), generator.tokenizer)
    for piece in until(pieces, stop):
        text += piece
        show(piece)
    seconds = time.monotonic() - start
    return {
        "prompt": prompt,
        "text": text,
        "tokens": len(times),
        "first_seconds": times[0] - start if times else seconds,
        "seconds": seconds,
        "tokens_per_second": _rate(times),
        "exit": exits and str(exits),
        "layers": float(np.mean(generator.depths)) if times else None,
    }


def _exits(own, given):
    """The `ExitSpec` of a plan, or what is asked for instead, or `None`."""
    if given is None:
        return ExitSpec.from_json(own) if own else None
    return None if given == NO_EXIT else ExitSpec.parse(given)


def _timed(tokens, times):
    for token in tokens:
        times.append(time.monotonic())
        yield token


def _rate(times):
    """Tokens/s behind the first call, which compiles; `None` if too few."""
    later = [t for t in times if t - times[0] > 0.01] if times else []
    return len(later) / (times[-1] - times[0]) if len(later) > 1 else None


def _candidate(model, workdir, plan, group):
    """The one model and plan that the flags mean."""
    if workdir:
        candidates = run_candidates([workdir], plan or _FULL)
    else:
        candidates = model_candidates(model, plan or _FULL, group=group)
    if sum(len(one.plans) for one in candidates) != 1:
        raise UserError(f"`--plan` must be one plan. Received: {plan}")
    return candidates[0]


def _spec(candidate, kv, max_new_tokens):
    """The `KVSpec` that is asked for, or `None`; wrong ones are found early."""
    own = candidate.plans[0].kv
    if kv is None and own is None:
        return None
    spec = KVSpec.from_json(own) if kv is None else KVSpec.parse(kv)
    length = _rated_length(candidate, max_new_tokens)
    check_spec(spec, candidate.source.config, length)
    return spec


def _rated_length(candidate, tokens):
    """The cached length that a rate is of."""
    return max(tokens, min(RATED_LENGTH, candidate.source.config.context))


def _generator(candidate, plan, dtype, exits):
    from tfshrink.models.generation import Generator
    from tfshrink.models.load import load_model

    tokenizer = candidate.source.tokenizer()
    if plan is None and candidate.workdir is None:
        # No bits, so no scales.
        model = load_model(candidate.source, dtype=dtype)
        return Generator(model, tokenizer, exits=exits)
    bits = None
    if plan:
        bits = plan_tensor(candidate.source.config, candidate.plans[0])
    model = candidate.load(dtype)
    return Generator(model, tokenizer, bits=bits, exits=exits)
