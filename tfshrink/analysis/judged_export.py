"""One export, judged and timed by running the file itself."""

from tfshrink.analysis.token_latency import token_latency
from tfshrink.evaluation.artefact_judge import ArtefactJudge
from tfshrink.evaluation.artefact_judge import plans_of
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
        count: Plans that the file holds.
    """

    def __init__(self, target, protocol, material, *, repeats):
        self.target = target
        self.protocol = protocol
        self.material = material
        self.repeats = repeats
        self.on_rows = None
        self.count = len(plans_of(target.artefact.metadata))
        self._judges = {}  # the last one: each holds the whole file

    def judge(self, number):
        """The `ArtefactJudge` of one of the plans that the file holds."""
        if number not in self._judges:
            self._judges = {}
            self._judges[number] = ArtefactJudge(
                self.target.artefact.folder,
                self.protocol,
                self.material,
                repeats=self.repeats,
                on_rows=self._count,
                format=self.target.format,
                number=number,
            )
        return self._judges[number]

    def _count(self, rows, tokens):
        if self.on_rows is not None:
            self.on_rows(rows, tokens)

    def quality(self, number, reference):
        """The row of a plan: bytes of the file, what is left of a reference."""
        row = self.judge(number).measure()
        row["compression"] = reference["bytes"] / row["bytes"]
        return with_ratios(row, reference)

    def speed(self, number, new_tokens):
        """Tokens/s, latency a token and memory; as of `JudgedModel.speed`.

        A file is run as a whole: it tells no seconds of single blocks.
        """
        alone, judge = reset_peak(), self.judge(number)
        evaluation = judge.evaluation_speed()
        latency = token_latency(
            lambda: self._stream(judge.session, new_tokens),
            repeats=self.repeats,
        )
        return {
            "evaluation": evaluation,
            "latency": latency,
            "block_seconds": None,
            "peak_memory": {**peak_memory(), "of_process": not alone},
        }

    def _stream(self, session, new_tokens):
        """Greedy tokens behind a prompt, one by one."""
        session.reset()
        logits = session.prefill(list(range(PROMPT)))
        for made in range(new_tokens):
            token = int(logits.argmax())
            yield token
            if made + 1 < new_tokens:
                logits = session.step(token)
