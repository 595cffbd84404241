"""One export, judged and timed by running the file itself."""

from tfshrink.analysis.token_latency import token_latency
from tfshrink.evaluation.artefact_judge import ArtefactJudge
from tfshrink.evaluation.judge import PROMPT
from tfshrink.evaluation.memory import peak_memory
from tfshrink.evaluation.memory import reset_peak
from tfshrink.evaluation.plan_rows import with_ratios


class JudgedExport:
    """Judges and times an export.

    Args:
        target: `Target` of an export.
        protocol: `Protocol`; its task is perplexity.
        material: `Material` in the tokens of its model.
        repeats: Measurements of every time.

    Attributes:
        on_rows: As for `Judge`; may be set before a call.
    """

    def __init__(self, target, protocol, material, *, repeats):
        self.repeats = repeats
        self.on_rows = None
        self.judge = ArtefactJudge(
            target.artefact.folder,
            protocol,
            material,
            repeats=repeats,
            on_rows=self._count,
            format=target.format,
        )

    def _count(self, rows, tokens):
        if self.on_rows is not None:
            self.on_rows(rows, tokens)

    @property
    def plan(self):
        """`Plan` that the file holds."""
        return self.judge.plan

    def quality(self, reference):
        """The row of the file: its bytes, what it leaves beside a reference."""
        row = self.judge.measure()
        row["compression"] = reference["bytes"] / row["bytes"]
        return with_ratios(row, reference)

    def speed(self, new_tokens):
        """Tokens/s, latency a token and memory; as of `JudgedModel.speed`.

        A file is run as a whole: it tells no seconds of single blocks.
        """
        alone = reset_peak()
        evaluation = self.judge.evaluation_speed()
        latency = token_latency(
            lambda: self._stream(new_tokens), repeats=self.repeats
        )
        return {
            "evaluation": evaluation,
            "latency": latency,
            "block_seconds": None,
            "peak_memory": {**peak_memory(), "of_process": not alone},
        }

    def _stream(self, new_tokens):
        """Greedy tokens behind a prompt, one by one."""
        session = self.judge.session
        session.reset()
        logits = session.prefill(list(range(PROMPT)))
        for made in range(new_tokens):
            token = int(logits.argmax())
            yield token
            if made + 1 < new_tokens:
                logits = session.step(token)
