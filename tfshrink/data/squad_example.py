"""One question about one passage."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class SquadExample:
    """A SQuAD v1.1 question.

    Args:
        context: The passage that holds the answer.
        question: The question.
        answers: Tuple of accepted answers, at least one; the first is the
            one trained on.
        id: SQuAD's own id.
    """

    context: str
    question: str
    answers: tuple
    id: str
