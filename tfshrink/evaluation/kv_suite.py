"""Codecs of the K/V cache side by side: bytes, quality, text, speed."""

import gc
import time

import numpy as np
from keras import ops

from tfshrink import backend
from tfshrink.data.examples import Examples
from tfshrink.data.progress_bar import progress_bar
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.evaluation.kv_cost import kv_cost
from tfshrink.evaluation.kv_error import KVError
from tfshrink.evaluation.material import Material
from tfshrink.evaluation.memory import peak_memory
from tfshrink.evaluation.protocol import Protocol
from tfshrink.evaluation.quality_meter import QualityMeter
from tfshrink.evaluation.results import origin
from tfshrink.kv_spec import CODECS
from tfshrink.kv_spec import KVSpec
from tfshrink.kv_spec import METHODS
from tfshrink.kv_spec import RATED
from tfshrink.models.kv_codecs import check_spec
from tfshrink.models.kv_codecs import open_codecs
from tfshrink.models.streaming import streamed_hidden
from tfshrink.plan import Plan

COPIED = 32  # tokens that are to be said again
NEW_TOKENS = 64  # of continuations
DECODED = 32  # of one measurement of speed
FULL = 16  # bits of weights
REPEATS = 3
ROUNDING = 0.03  # of the size of hidden states, in bfloat16


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
    from tfshrink.models.load import load_model
    from tfshrink.models.sources import open_source

    source = open_source(model)
    protocol.check_model(source.config)
    for spec in specs:
        check_spec(spec, source.config, context)
    material = Material.load(protocol, source)
    own = load_model(source, dtype=dtype)
    suite = _Suite(own, source, protocol, material, seed)
    rows = []
    with progress_bar("codecs", len(specs)) as show:
        for done, spec in enumerate(specs, 1):
            rows.append(suite.row(spec, verify=verify, speed=speed))
            on_rows(rows)
            gc.collect()  # compiled functions hold weights in circles
            show(done, done * len(material.text.examples) * context)
    return {
        "model": source.name,
        "protocol": {
            **protocol.to_json(),
            "describe": material.text.describe(protocol),
        },
        "rows": rows,
        "memory": peak_memory(),
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


class _Suite:
    """One model and text; what the exact cache says is kept."""

    def __init__(self, model, source, protocol, material, seed):
        self.model = model
        self.source = source
        self.tokenizer = source.tokenizer()
        self.protocol = protocol
        self.examples = material.text.examples
        self.copies = copy_examples(self.examples, COPIED, seed)
        window = self.examples.tokens[:1]
        self.error = KVError(model, window, protocol.first)
        self.exact = None

    def row(self, spec, *, verify, speed):
        """What is measured of a codec."""
        config, context = self.source.config, self.protocol.context
        codecs = open_codecs(spec, self.source, context)
        plan = Plan.from_block_bits(
            [FULL] * (4 * config.layers),
            layers=config.layers,
            tied=config.tied,
            kv=spec.to_json(),
        )
        meter = QualityMeter(
            self.model, self.examples, batch_size=2, codecs=codecs
        )
        found = {
            **kv_cost(config, plan, context, codecs),
            **meter.measure(),
            **self.error.measure(codecs),
        }
        # The same shapes: what was compiled serves.
        meter.examples = self.copies
        found["copied"] = meter.measure()["token_accuracy"]
        generator = self._generator(codecs)
        texts = self._continued(generator)
        if self.exact is None:
            self.exact = {"texts": texts, "perplexity": found["perplexity"]}
        found["perplexity_ratio"] = (
            found["perplexity"] / self.exact["perplexity"]
        )
        found["agreement"] = float(np.mean(texts == self.exact["texts"]))
        found |= self._bleu(texts)
        if speed:
            found["tokens_per_second"] = self._speed(generator)
        if verify and codecs is not None:
            found["verified"] = verified(self.model, codecs, self.examples)
        return found

    def _bleu(self, texts):
        """BLEU of continuations, those behind the exact cache as references."""
        from sacrebleu.metrics import BLEU

        metric = BLEU()
        made, references = (
            self.tokenizer.batch_decode(own.tolist())
            for own in (texts, self.exact["texts"])
        )
        score = metric.corpus_score(made, [references]).score
        return {"bleu": score, "bleu_signature": str(metric.get_signature())}

    def _generator(self, codecs):
        from tfshrink.models.generation import Generator

        return Generator(self.model, chunk=NEW_TOKENS, codecs=codecs)

    def _continued(self, generator):
        """Greedy tokens behind the windows, `(N, NEW_TOKENS)`."""
        length = self.protocol.context - NEW_TOKENS
        prompts = self.examples.tokens[:2, :length].tolist()
        made = generator.generate(
            prompts,
            max_new_tokens=NEW_TOKENS,
            temperature=0.0,
            stop_tokens=(),
        )
        return np.array(made)

    def _speed(self, generator):
        """Tokens/s of one sequence at the end of the context, the median.

        The first part compiles, and waits for the prompt to be read.
        """
        made = DECODED * (1 + REPEATS)
        prompt = self.examples.tokens[0, : self.protocol.context - made]
        times = [
            time.monotonic()
            for _ in generator.steps(
                [prompt.tolist()],
                made,
                DECODED,
                {"temperature": 0.0, "stop_tokens": ()},
            )
        ]
        return float(DECODED / np.median(np.diff(times)))


def copy_examples(examples, count, seed):
    """Windows whose last tokens repeat a passage of random ones.

    Args:
        examples: `Examples` of a text.
        count: Tokens of the passage.
        seed: Of the passage; it lies between a tenth and half of the window.

    Returns:
        `Examples`; the repeated tokens count, but for the first two.
    """
    random = np.random.default_rng(seed)
    tokens = np.array(examples.tokens)
    mask = np.zeros_like(examples.mask)
    length = tokens.shape[1]
    for row in tokens:
        passage = random.choice(examples.tokens.ravel(), count)
        place = random.integers(length // 10, length // 2)
        row[place : place + count] = passage
        row[-count:] = passage
    mask[:, length - count + 2 :] = 1.0
    return Examples(tokens, mask)


def verified(model, codecs, examples, length=192):
    """Holds a codec to the exact cache, through the path of generation.

    Args:
        model: `Decoder`.
        codecs: `BlockCodecs`.
        examples: `Examples`: the first window's beginning is read.
        length: Tokens of it, at most.

    Returns:
        Dict of mean differences of hidden states, relative to their size:
        `before` anything is coded, `stepwise` between tokens one by one and in
        steps, `after` the first block is coded: what the codec costs; and
        `passed`, whether the first two are rounding.
    """
    tokens = ops.convert_to_tensor(examples.tokens[:1, :length])

    def read(codecs, chunk=None):
        run = backend.Compiled(
            lambda tokens: streamed_hidden(model, tokens, codecs, chunk=chunk),
            model.variables,
        )
        return ops.convert_to_numpy(ops.cast(run(tokens), "float32"))[0]

    def apart(a, b):
        return float(np.abs(a - b).mean() / np.abs(a).mean())

    exact, steps, single = read(None), read(codecs), read(codecs, 1)
    block = next(codec.block for codec in codecs.codecs if codec)
    first = codecs.window + block  # the first token that sees a coded one
    found = {
        "before": apart(exact[:first], steps[:first]),
        "stepwise": apart(single, steps),
        "after": apart(exact[first:], steps[first:]),
    }
    passed = max(found["before"], found["stepwise"]) < ROUNDING
    return {**found, "passed": passed}
