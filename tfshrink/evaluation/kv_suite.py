"""Codecs of the K/V cache side by side: bytes, quality, text, speed."""

import concurrent.futures
import contextlib
import multiprocessing
import time

from tfshrink.data.progress_bar import progress_bar
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.evaluation.codec_meter import codec_meter
from tfshrink.evaluation.codec_meter import DECODED
from tfshrink.evaluation.codec_meter import REPEATS
from tfshrink.evaluation.judged_text import JudgedText
from tfshrink.evaluation.memory import peak_memory
from tfshrink.evaluation.protocol import Protocol
from tfshrink.evaluation.results import origin
from tfshrink.kv_spec import CODECS
from tfshrink.kv_spec import KVSpec
from tfshrink.kv_spec import METHODS
from tfshrink.kv_spec import RATED
from tfshrink.models.kv_codecs import check_spec
from tfshrink.quiet import quiet

# A process never gives back what it compiled: 1 to 2 GB a codec of SmolLM2.
CODECS_A_PROCESS = 3


def kv_suite(
    *,
    model="smollm2-135m",
    method=("all",),
    compression=(0.5, 0.75, 0.875),
    layers="all",
    data="pydoc",
    limit=4,
    context=2048,
    dtype="bfloat16",
    verify=False,
    speed=True,
    seed=0,
    processes=True,
    on_rows=lambda rows: None,
):
    """Measures codecs on one model and text, each against the exact cache.

    Args:
        model: What `--model` takes.
        method: Codecs, or `all`.
        compression: Fractions of the cache's 16-bit bytes to remove, for codecs
            that take a rate; others have one of their own.
        layers: As in `KVSpec`.
        data: Text of the perplexity and of what is continued.
        limit: Windows of it.
        context: Tokens of a window.
        dtype: Compute type.
        verify: Whether each codec is also held to the exact cache where
            nothing is coded yet, and tokens one by one to tokens in steps.
        speed: Whether decoding behind the context is timed.
        seed: Of the tokens that are to be copied.
        processes: Whether other processes measure, a few codecs each, which
            bounds the memory of a long suite.
        on_rows: Called with the rows so far after each codec.

    Returns:
        Dict with `rows`, one a codec and rate, the exact cache first:
        `perplexity` over the second half of each window, `KVError` over that
        of the first, `copied` (share of tokens of an earlier passage that are
        said again), `agreement` (share of greedy tokens like the exact
        cache's, by place), `bleu` (of greedy text, the exact cache's as
        reference), `tokens_per_second` of decoding behind the context, and
        `kv_cost`.

    Raises:
        UserError: Anything the arguments got wrong.
    """
    start = time.monotonic()
    specs = suite_specs(method, compression, layers)
    least = DECODED * (2 + REPEATS)
    if context < least:
        raise UserError(
            f"`context` must be at least {least} tokens for text and speed. "
            f"Received: {context}"
        )
    protocol = Protocol(
        data=data,
        limit=limit,
        context=context,
        first=context // 2,
        dtype=dtype,
        batch_size=2,
    )
    from tfshrink.models.sources import open_source

    source = open_source(model)
    protocol.check_model(source.config)
    for spec in specs:
        check_spec(spec, source.config, context)
    text = JudgedText.load(protocol, source.tokenizer())
    task = model, protocol, seed, {"verify": verify, "speed": speed}
    exact, rows, peaks = None, [], []
    with (
        _measuring(processes) as measure,
        progress_bar("codecs", len(specs)) as show,
    ):
        for done, spec in enumerate(specs, 1):
            found, peak = measure(task, spec, exact)
            exact = exact or found
            rows.append(found[0])
            peaks.append(peak)
            on_rows(rows)
            show(done, done * len(text.examples) * context)
    return {
        "model": source.name,
        "protocol": {
            **protocol.to_json(),
            "describe": text.describe(protocol),
        },
        "rows": rows,
        "memory": max(peaks, key=lambda peak: peak["host_mb"]),
        **origin(),
        "seconds": time.monotonic() - start,
    }


def suite_specs(method, compression, layers="all"):
    """The `KVSpec`s of codecs at fractions to remove, the exact one first.

    The two methods of `channel` are codecs of their own here.
    """
    choices = [name for name in CODECS if name != "channel"] + list(METHODS)
    names = choices if "all" in method else list(method)
    for name in names:
        if name not in [*choices, "channel"]:
            raise unknown_choice("method", name, [*choices, "channel", "all"])
    for value in compression:
        if not 0.0 < value < 1.0:
            raise UserError(
                "`compression` must be fractions to remove, in (0, 1). "
                f"Received: {value:g}"
            )
    found = [KVSpec(codec="identity")]
    for name in names:
        options = {"codec": name}
        if name in METHODS:
            options = {"codec": "channel", "method": name}
        if options["codec"] in RATED:
            found += [
                KVSpec(**options, rate=1.0 / (1.0 - value), layers=layers)
                for value in compression
            ]
        elif name != "identity":
            found.append(KVSpec(codec=name, layers=layers))
    return found


@contextlib.contextmanager
def _measuring(processes):
    """`_measured`, in this process or, a few calls each, in others."""
    if not processes:
        yield _measured
        return
    with concurrent.futures.ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=quiet,
        max_tasks_per_child=CODECS_A_PROCESS,
    ) as pool:
        yield lambda *task: pool.submit(_measured, *task).result()


def _measured(task, spec, exact):
    """`(row, texts)` of a codec, and the process's peak memory so far."""
    name, protocol, seed, options = task
    meter = codec_meter(name, protocol, seed)
    return meter.row(spec, exact, **options), peak_memory()
