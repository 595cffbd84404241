"""How plans are judged: printed beside every figure that rests on it."""

import dataclasses

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError

DTYPES = ("bfloat16", "float32")
SPLIT = "test"  # never trained on, calibrated on or chosen by
TASKS = {
    "perplexity": "perplexity, token and top-5 accuracy of --data",
    "speed": "tokens/s of evaluation and of decoding, in simulation",
    "squad": "exact match and F1 of greedy answers, SQuAD v1.1",
}
HARNESS = "lm_eval:"  # in front of a task of lm-evaluation-harness


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is measured, on which text, in what numbers.

    Args:
        tasks: Names from `TASKS`, or `lm_eval:NAME` of tasks of
            lm-evaluation-harness.
        data: Text of the perplexity, as `load_documents` takes it; where it
            is SQuAD, of the questions too.
        limit: Windows of text, or questions, at most.
        context: Tokens in a window.
        stride: Tokens from one window to the next; `None` is what is left
            behind `first`, or `context - 1`, so that every token but the first
            counts once and at least cost.
        first: Tokens of a window that do not count: what they would say of a
            K/V cache that codes older tokens is nothing.
        dtype: Compute type of the model.
        batch_size: Windows, or questions, at once.
        lm_eval_tasks: Folder of task files for lm-evaluation-harness, or
            `None`.

    Raises:
        UserError: A value is out of range.
    """

    tasks: tuple = ("perplexity",)
    data: str = "pydoc"
    limit: int | None = None
    context: int = 512
    stride: int | None = None
    first: int = 0
    dtype: str = "float32"
    batch_size: int = 4
    lm_eval_tasks: str | None = None

    def __post_init__(self):
        for task in self.own_tasks:
            if task not in TASKS:
                raise unknown_choice("tasks", task, [*TASKS, f"{HARNESS}NAME"])
        if self.lm_eval_tasks and not self.harness_tasks:
            raise UserError(
                f"`lm_eval_tasks` goes with a task {HARNESS}NAME. "
                f"Received: {self.lm_eval_tasks}, tasks {','.join(self.tasks)}"
            )
        if not self.tasks:
            raise UserError(
                f"`tasks` must name at least one of {', '.join(TASKS)}. "
                "Received: none"
            )
        if self.dtype not in DTYPES:
            raise unknown_choice("dtype", self.dtype, DTYPES)
        self._check_sizes()
        if self.stride is None:
            stride = self.context - max(self.first, 1)
            object.__setattr__(self, "stride", stride)
        if not 1 <= self.stride < self.context:
            raise UserError(
                f"`stride` must be between 1 and {self.context - 1} (the "
                f"context less one). Received: {self.stride}"
            )

    @property
    def own_tasks(self):
        """The tasks that are not of lm-evaluation-harness."""
        return tuple(t for t in self.tasks if not t.startswith(HARNESS))

    @property
    def harness_tasks(self):
        """Names of those that are, as it calls them."""
        found = [t for t in self.tasks if t.startswith(HARNESS)]
        return tuple(task.removeprefix(HARNESS) for task in found)

    def _check_sizes(self):
        lowest = {"context": 2, "batch_size": 1, "limit": 1, "first": 0}
        for name, least in lowest.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(
                    f"`{name}` must be at least {least}. Received: {value}"
                )

        if self.first >= self.context:
            raise UserError(
                f"`first` must be below the context of {self.context}. "
                f"Received: {self.first}"
            )

    def check_model(self, config):
        """Raises a `UserError` if the model's context is too short."""
        if self.context > config.context:
            raise UserError(
                f"`context` must be at most {config.context}, the longest "
                f"sequence of {config.name}. Received: {self.context}"
            )

    def to_json(self):
        """Returns a plain dict."""
        return {**dataclasses.asdict(self), "split": SPLIT}
