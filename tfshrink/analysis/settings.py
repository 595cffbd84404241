"""What an analysis measures, on which text, how often."""

import dataclasses

from tfshrink.errors import UserError

# Settings to help texts, or to help texts and choices.
FLAG_GROUPS = {
    "Plan": {
        "group": "Inputs per scale at 4 bits and below, of a model's plans.",
        "scales": ("How the scales of a model are fitted.", ("mse", "rtn")),
        "activations": "8 rounds inputs to int8. Default: as was trained.",
    },
    "Protocol": {
        "context": "Tokens in a window. Default: 512, or the model's limit.",
        "dtype": ("What is computed in.", ("bfloat16", "float32")),
        "batch_size": "Windows at once.",
        "repeats": "Measurements of every time.",
        "new_tokens": "Tokens of a text whose latency is measured.",
        "prompts": "Prompts that tell which layers mind; 0 is none.",
        "robustness_limit": "Windows of 128 tokens that are attacked.",
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalysisSettings:
    """Settings of an analysis; `Protocol` says more of the first ones.

    Args:
        plan: What `--plan` takes, several split by `;`; `None` is a run's own,
            and 8, 4 and 2 bits of a model.
        group: Inputs per scale of a model's plans at 4 bits and below.
        scales: How the scales of a model are fitted: `"mse"` or `"rtn"`.
        activations: 8 or 0 judges plans with inputs rounded to int8 or not;
            `None` as they were trained.
        data: Text, or pairs of a run that translates.
        limit: Windows of it, at most; `None` is all.
        context: Tokens in a window; `None` is 512, or the model's limit.
        dtype: Compute type.
        batch_size: Windows at once.
        repeats: Measurements of every time.
        new_tokens: Tokens of a text whose latency is measured.
        prompts: Prompts of the sweep that says which layer groups mind, where
            `bin/sensitivity` left no file in the run; 0 leaves it out.
        robustness_limit: Windows that are attacked and disturbed.

    Raises:
        UserError: A count is too small. What else is wrong is said by what
            uses it.
    """

    plan: str | None = None
    group: int = 64
    scales: str = "mse"
    activations: int | None = None
    data: str = "pydoc"
    limit: int | None = None
    context: int | None = None
    dtype: str = "bfloat16"
    batch_size: int = 4
    repeats: int = 5
    new_tokens: int = 64
    prompts: int = 8
    robustness_limit: int = 24

    def __post_init__(self):
        lowest = {
            "repeats": 2,  # one has no spread
            "new_tokens": 2,  # the first one is told apart
            "prompts": 0,
            "robustness_limit": 2,
        }
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise UserError(
                    f"`{name}` must be at least {least}. "
                    f"Received: {getattr(self, name)}"
                )
