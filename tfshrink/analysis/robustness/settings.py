"""What a study of robustness does to a model, and how hard."""

import dataclasses

from tfshrink.analysis.robustness.condition import Condition
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.evaluation.protocol import DTYPES

# Each attack and each noise: the setting that holds its strengths.
ATTACKS = {"fgsm": "epsilon", "pgd": "epsilon"}
NOISES = {
    "random_signs": "epsilon",
    "weight_noise": "weight_noise",
    "token_dropout": "token_dropout",
    "token_substitution": "token_substitution",
    "weight_quantization": "quantization_bits",
    "activation_quantization": "quantization_bits",
}
STRENGTHS = {  # the least and the most of each
    "epsilon": (0, float("inf")),
    "weight_noise": (0, float("inf")),
    "token_dropout": (0, 1),
    "token_substitution": (0, 1),
    "quantization_bits": (2, 8),
}
DRAWS = ("auto", "batch", "none", "row")
PGD_REACH = 2.5  # ball radii that the steps of PGD cover together


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobustnessSettings:
    """Attacks, noises and their strengths; each strength is a condition.

    What holds several values also takes one alone.

    Args:
        attacks: Names from `ATTACKS`.
        noises: Names from `NOISES`.
        epsilon: Radii of the attacks (L-infinity, on the embedded tokens) and
            sizes of the random signs beside them, relative to the RMS of the
            full-precision embedding table: the same for every plan.
        steps: Steps of PGD, from the clean embeddings.
        alpha: Length of such a step, in the unit of `epsilon`; `None` is 2.5
            radii over all steps.
        weight_noise: Standard deviations of Gaussian noise on the weights in
            force, relative to the RMS of each matrix.
        token_dropout: Shares of the tokens whose embedding is zero.
        token_substitution: Shares of the tokens that another one, drawn from
            the vocabulary, stands for.
        quantization_bits: Bit-widths of which uniform noise of half a step
            either way is added.
        random_precision: Whether one of the plans, drawn at random, serves each
            `"row"` or each `"batch"`; `"none"` leaves this out, `"auto"` is
            rows where there are two plans or more.
        attacker_samples: Plans that the attacker who knows of the draws draws
            for a step; `None` takes each of them, the exact expectation.
        data: Text, as `load_documents` takes it.
        limit: Windows of text, at most.
        context: Tokens in a window.
        batch_size: Windows at once.
        dtype: Compute type.
        seed: Of all that is drawn.
        resamples: Of the bootstrap.
        confidence: Of its intervals.

    Raises:
        UserError: A value is out of range.

    Reference: the 2.5 radii are those of Madry et al., Towards Deep Learning
    Models Resistant to Adversarial Attacks, arXiv:1706.06083.
    """

    attacks: tuple = tuple(ATTACKS)
    noises: tuple = tuple(NOISES)
    epsilon: tuple = (0.05,)
    steps: int = 5
    alpha: float | None = None
    weight_noise: tuple = (0.05,)
    token_dropout: tuple = (0.1,)
    token_substitution: tuple = (0.1,)
    quantization_bits: tuple = (4,)
    random_precision: str = "auto"
    attacker_samples: int | None = None
    data: str = "pydoc"
    limit: int = 24
    context: int = 128
    batch_size: int = 8
    dtype: str = "float32"
    seed: int = 0
    resamples: int = 999
    confidence: float = 0.95

    def __post_init__(self):
        for name in ("attacks", "noises", *STRENGTHS):
            value = getattr(self, name)
            one = isinstance(value, (str, int, float))
            # A frozen dataclass sets its fields in this way.
            object.__setattr__(self, name, (value,) if one else tuple(value))
        for name, known in (("attacks", ATTACKS), ("noises", NOISES)):
            for value in getattr(self, name):
                if value not in known:
                    raise unknown_choice(name, value, known)
        for name, known in (("random_precision", DRAWS), ("dtype", DTYPES)):
            if getattr(self, name) not in known:
                raise unknown_choice(name, getattr(self, name), known)
        self._check_strengths()
        self._check_counts()
        if self.alpha is not None and not self.alpha > 0:
            raise UserError(f"`alpha` must be above 0. Received: {self.alpha}")
        if not 0 < self.confidence < 1:
            raise UserError(
                "`confidence` must lie between 0 and 1. "
                f"Received: {self.confidence}"
            )

    def _check_strengths(self):
        for name, (least, most) in STRENGTHS.items():
            for value in getattr(self, name):
                if not least <= value <= most:
                    upper = "" if most == float("inf") else f", at most {most}"
                    raise UserError(
                        f"`{name}` must be at least {least}{upper}. "
                        f"Received: {value}"
                    )

    def _check_counts(self):
        lowest = {
            "steps": 1,
            "attacker_samples": 1,
            "limit": 2,  # intervals are over windows
            "context": 2,
            "batch_size": 1,
            "seed": 0,
            "resamples": 99,
        }
        for name, least in lowest.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(
                    f"`{name}` must be at least {least}. Received: {value}"
                )

    def step_length(self, epsilon):
        """Length of a step of PGD in a ball of radius `epsilon`."""
        if self.alpha is not None:
            return self.alpha
        return PGD_REACH * epsilon / self.steps

    def draws_every(self, plans):
        """What draws one of the plans: `"row"`, `"batch"` or `None`.

        Args:
            plans: How many there are.
        """
        every = self.random_precision
        if every == "auto":
            every = "row" if plans > 1 else "none"
        return None if every == "none" else every

    @property
    def attack_conditions(self):
        """`Condition` of each attack at each strength."""
        return self._conditions(self.attacks, ATTACKS)

    @property
    def noise_conditions(self):
        """`Condition` of each noise at each strength."""
        return self._conditions(self.noises, NOISES)

    def _conditions(self, names, strengths):
        return [
            Condition(name, strength)
            for name in names
            for strength in getattr(self, strengths[name])
        ]

    def to_json(self):
        """Returns a plain dict."""
        return dataclasses.asdict(self)
