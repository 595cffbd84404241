"""One loaded model, judged and timed plan by plan."""

import functools
import gc

import numpy as np

from tfshrink.analysis.block_times import block_times
from tfshrink.analysis.token_latency import token_latency
from tfshrink.evaluation.judge import Judge
from tfshrink.evaluation.judge import PROMPT
from tfshrink.evaluation.memory import peak_memory
from tfshrink.evaluation.memory import reset_peak
from tfshrink.evaluation.plan_rows import plan_codecs
from tfshrink.evaluation.speed import evaluation_speed
from tfshrink.files import sha256_json
from tfshrink.structure import plan_tensor


class JudgedModel:
    """Judges and times plans of one model; compiles once for all of them.

    Args:
        source: `Source` of the model.
        load: Function of a compute type to the model.
        protocol: `Protocol`; its task is perplexity.
        material: `Material`.
        repeats: Measurements of every time.

    Attributes:
        on_rows: As for `Judge`; may be set before a call.
    """

    def __init__(self, source, load, protocol, material, *, repeats):
        self.source = source
        self.load = load
        self.protocol = protocol
        self.material = material
        self.repeats = repeats
        self.on_rows = None
        self._judges = {}  # the last one, by the K/V codec of its plans
        self._generators = {}

    @functools.cached_property
    def model(self):
        """The `Decoder`."""
        return self.load(self.protocol.dtype)

    def bits(self, plan):
        """What the model is called with; `None` is full precision."""
        return None if plan is None else plan_tensor(self.source.config, plan)

    def judge(self, plan):
        """The `Judge` of plans with the same K/V codec as this one."""
        key = sha256_json(plan and plan.kv)
        if key not in self._judges:
            self._judges, self._generators = {}, {}
            gc.collect()  # compiled functions hold weights in circles
            self._judges[key] = Judge(
                self.model,
                self.protocol,
                self.material,
                repeats=self.repeats,
                on_rows=self._count,
                codecs=plan and plan_codecs(plan, self.source, self.protocol),
            )
        return self._judges[key]

    def _count(self, rows, tokens):
        if self.on_rows is not None:
            self.on_rows(rows, tokens)

    def speed(self, plan, new_tokens):
        """Tokens/s, latency a token, seconds a block and memory of a plan.

        Args:
            plan: `Plan`, or `None` for full precision.
            new_tokens: Tokens of a text whose latency is measured.

        Returns:
            A dict: `evaluation`, tokens/s of scoring a batch of windows, as
            `evaluation_speed`; `latency`, as `token_latency`; `block_seconds`,
            as `block_times` (`None` behind a K/V codec); `peak_memory`, which
            is that of these measurements if `of_process` is false.
        """
        alone = reset_peak()
        judge, bits = self.judge(plan), self.bits(plan)
        evaluation = evaluation_speed(
            judge.meter,
            bits,
            batch_size=self.protocol.batch_size,
            context=self.protocol.context,
            repeats=self.repeats,
        )
        latency = token_latency(
            lambda: self._stream(judge, bits, new_tokens), repeats=self.repeats
        )
        blocks = None
        if judge.codecs is None:
            blocks = block_times(
                self._forward, self._tokens(), bits, repeats=self.repeats
            )
        return {
            "evaluation": evaluation,
            "latency": latency,
            "block_seconds": blocks,
            "peak_memory": {**peak_memory(), "of_process": not alone},
        }

    @functools.cached_property
    def _forward(self):
        from tfshrink.models.block_forward import BlockForward

        return BlockForward(self.model, self.protocol.context)

    def _tokens(self):
        """One window of random tokens."""
        shape = 1, self.protocol.context
        random = np.random.default_rng(0)
        return random.integers(0, self.source.config.vocabulary, shape, "int32")

    def _stream(self, judge, bits, new_tokens):
        """Makes tokens one by one: each is a call of its own."""
        from tfshrink.models.generation import Generator

        if judge not in self._generators:
            self._generators[judge] = Generator(
                self.model, chunk=1, codecs=judge.codecs, frozen=True
            )
        generator = self._generators[judge]
        generator.bits = bits
        settings = {"temperature": 0.0, "stop_tokens": ()}
        return generator.steps([list(range(PROMPT))], new_tokens, 1, settings)
