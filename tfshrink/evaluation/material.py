"""The texts and questions that a model is judged on."""

import dataclasses

from tfshrink.data.documents import is_squad
from tfshrink.data.squad import load_squad
from tfshrink.evaluation.harness.harness import Harness
from tfshrink.evaluation.judged_text import JudgedText
from tfshrink.evaluation.protocol import SPLIT
from tfshrink.evaluation.squad import NEW_TOKENS
from tfshrink.evaluation.squad import squad_prompts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Material:
    """What the tasks of a protocol need, in the tokens of one model.

    Args:
        tokenizer: The model's tokenizer.
        text: `JudgedText`, or `None`.
        questions: List of `SquadExample`.
        prompts: Their token lists.
        harness: `Harness`, or `None`.
    """

    tokenizer: object
    text: JudgedText | None = None
    questions: tuple = ()
    prompts: tuple = ()
    harness: Harness | None = None

    @classmethod
    def load(cls, protocol, source):
        """Reads what `protocol.tasks` need.

        Args:
            protocol: `Protocol`.
            source: `Source` of the model.
        """
        tokenizer = source.tokenizer()
        text, questions, prompts = None, [], []
        if "perplexity" in protocol.tasks:
            text = JudgedText.load(protocol, tokenizer)
        if "squad" in protocol.tasks:
            name = protocol.data if is_squad(protocol.data) else "squad"
            path = None if name == "squad" else name
            questions = load_squad(path, SPLIT, protocol.limit)
            room = source.config.context - NEW_TOKENS
            prompts = squad_prompts(questions, tokenizer, room)
        harness = None
        if protocol.harness_tasks:
            harness = Harness.load(
                protocol.harness_tasks,
                folder=protocol.lm_eval_tasks,
                limit=protocol.limit,
            )
        return cls(
            tokenizer=tokenizer,
            text=text,
            questions=questions,
            prompts=prompts,
            harness=harness,
        )

    def sample(self, count):
        """The same with `count` windows and questions, for a dry run."""
        text, harness = self.text, self.harness
        if harness is not None:
            harness = dataclasses.replace(harness, limit=count)
        if text is not None:
            text = dataclasses.replace(text, examples=text.examples[:count])
        return dataclasses.replace(
            self,
            text=text,
            questions=self.questions[:count],
            prompts=self.prompts[:count],
            harness=harness,
        )

    @property
    def rows(self):
        """Windows and questions of one plan, for the progress bar."""
        windows = len(self.text.examples) if self.text else 0
        return windows + len(self.questions)
