"""One model under one protocol, plan after plan."""

import functools

from tfshrink.evaluation.quality_meter import QualityMeter
from tfshrink.evaluation.speed import decoding_speed
from tfshrink.evaluation.speed import evaluation_speed
from tfshrink.evaluation.speed import REPEATS
from tfshrink.evaluation.squad import answer
from tfshrink.evaluation.squad import NEW_TOKENS
from tfshrink.evaluation.squad_metrics import squad_scores

DECODED = 32  # tokens of a speed measurement
PROMPT = 64  # tokens before them


class Judge:
    """Measures a model at any plan; what it compiles serves all plans.

    Args:
        model: Built `Decoder`.
        protocol: `Protocol`.
        material: `Material`.
        repeats: Measurements of a speed.
        on_rows: Called with the windows or questions that were done and
            their tokens, for a progress bar.
        codecs: `BlockCodecs` of the K/V cache, which then everything goes
            through, or `None`.

    Example:
        >>> judge = Judge(model, protocol, material)
        >>> judge.measure(plan.bits)["perplexity"]
    """

    def __init__(
        self,
        model,
        protocol,
        material,
        *,
        repeats=REPEATS,
        on_rows=None,
        codecs=None,
    ):
        self.model = model
        self.protocol = protocol
        self.material = material
        self.repeats = repeats
        self.codecs = codecs
        self.on_rows = on_rows or (lambda rows, tokens: None)

    def measure(self, bits=None):
        """Runs the tasks of the protocol.

        Args:
            bits: As `Decoder` takes them; `None` for full precision.

        Returns:
            A dict with what each task found.
        """
        found = {}
        for task in self.protocol.own_tasks:
            found.update(MEASURES[task](self, bits))
        if self.material.harness:
            from tfshrink.evaluation.harness.plan_model import plan_model

            model = plan_model(self, bits)
            found["lm_eval"] = self.material.harness.measure(model)
        return found

    @functools.cached_property
    def meter(self):
        """The `QualityMeter` of the text."""
        text = self.material.text
        return QualityMeter(
            self.model,
            text and text.examples,
            batch_size=self.protocol.batch_size,
            codecs=self.codecs,
        )

    @functools.cached_property
    def generator(self):
        """The `Generator` of answers and of the speed of decoding."""
        from tfshrink.models.generation import Generator

        return Generator(self.model, chunk=NEW_TOKENS, codecs=self.codecs)

    def generate(self, prompts, new_tokens, bits, **options):
        """Greedy continuations: lists of new tokens."""
        self.generator.bits = bits
        return self.generator.generate(
            prompts, max_new_tokens=new_tokens, temperature=0.0, **options
        )


def _perplexity(judge, bits):
    context = judge.protocol.context
    return judge.meter.measure(
        bits, lambda rows: judge.on_rows(rows, rows * context)
    )


def _squad(judge, bits):
    material = judge.material
    predictions = answer(
        material.prompts,
        lambda prompts: judge.generate(prompts, NEW_TOKENS, bits),
        material.tokenizer.decode,
        batch_size=judge.protocol.batch_size,
        on_batch=lambda rows: judge.on_rows(rows, 0),
    )
    return squad_scores(
        predictions, [list(one.answers) for one in material.questions]
    )


def _speed(judge, bits):
    protocol = judge.protocol
    evaluation = evaluation_speed(
        judge.meter,
        bits,
        batch_size=protocol.batch_size,
        context=protocol.context,
        repeats=judge.repeats,
    )
    decoding = decoding_speed(
        lambda prompts, count: judge.generate(
            prompts, count, bits, stop_tokens=()
        ),
        [list(range(PROMPT))],
        new_tokens=DECODED,
        repeats=judge.repeats,
    )
    return {
        "evaluation_tokens_per_second": evaluation["median"],
        "decoding_tokens_per_second": decoding["median"],
        "speed": {"evaluation": evaluation, "decoding": decoding},
    }


MEASURES = {"perplexity": _perplexity, "speed": _speed, "squad": _squad}
