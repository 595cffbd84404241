"""What is measured of a codec of the K/V cache, on one model and text."""

import functools
import time

import numpy as np
from keras import ops

from tfshrink import backend
from tfshrink.data.examples import Examples
from tfshrink.evaluation.judged_text import JudgedText
from tfshrink.evaluation.kv_cost import kv_cost
from tfshrink.evaluation.kv_error import KVError
from tfshrink.evaluation.quality_meter import QualityMeter
from tfshrink.models.kv_codecs import open_codecs
from tfshrink.models.streaming import streamed_hidden
from tfshrink.plan import Plan

COPIED = 32  # tokens that are to be said again
NEW_TOKENS = 64  # of continuations
DECODED = 32  # of one measurement of speed
FULL = 16  # bits of weights
REPEATS = 3
ROUNDING = 0.03  # of the size of hidden states, in bfloat16


@functools.lru_cache(maxsize=1)
def codec_meter(name, protocol, seed):
    """The `CodecMeter` of this process, loaded once.

    Args:
        name: What `--model` takes.
        protocol: `Protocol`.
        seed: As of `CodecMeter`.
    """
    from tfshrink.models.load import load_model
    from tfshrink.models.sources import open_source

    source = open_source(name)
    text = JudgedText.load(protocol, source.tokenizer())
    model = load_model(source, dtype=protocol.dtype)
    return CodecMeter(model, source, protocol, text.examples, seed)


class CodecMeter:
    """Measures codecs with one model on one text.

    Args:
        model: Built `Decoder`.
        source: `Source` of it.
        protocol: `Protocol`.
        examples: `Examples` of its text.
        seed: Of the tokens that are to be copied.
    """

    def __init__(self, model, source, protocol, examples, seed):
        self.model = model
        self.source = source
        self.tokenizer = source.tokenizer()
        self.protocol = protocol
        self.examples = examples
        self.copies = copy_examples(examples, COPIED, seed)
        window = examples.tokens[:1]
        self.error = KVError(model, window, protocol.first)

    def row(self, spec, exact=None, *, verify=False, speed=True):
        """What is measured of a codec.

        Args:
            spec: `KVSpec`.
            exact: `(row, texts)` of the exact cache, or `None` of itself.
            verify: As of `kv_suite`.
            speed: As of `kv_suite`.

        Returns:
            `(row, texts)`: figures as `kv_suite` has them, and the tokens of
            the continuations `(N, NEW_TOKENS)`.
        """
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
        reference, wanted = exact or (found, texts)
        found["perplexity_ratio"] = (
            found["perplexity"] / reference["perplexity"]
        )
        found["agreement"] = float(np.mean(texts == wanted))
        found |= self._bleu(texts, wanted)
        if speed:
            found["tokens_per_second"] = self._speed(generator)
        if verify and codecs is not None:
            found["verified"] = verified(self.model, codecs, self.examples)
        return found, texts

    def _bleu(self, texts, wanted):
        """BLEU of continuations, those behind the exact cache as references."""
        from sacrebleu.metrics import BLEU

        metric = BLEU()
        made, references = (
            self.tokenizer.batch_decode(own.tolist()) for own in (texts, wanted)
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
        `passed`, whether `before` is rounding and `stepwise` is that or less
        than half of `after`: few codes are coarse, and rounding in front of
        them makes another one of some.
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
    limit = max(ROUNDING, found["after"] / 2)
    passed = found["before"] < ROUNDING and found["stepwise"] < limit
    return {**found, "passed": passed}
