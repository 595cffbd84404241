"""A small network that says whether a token leaves, as data."""

import dataclasses
import json
import pathlib

import numpy as np

from tfshrink.errors import DAMAGE
from tfshrink.errors import UserError
from tfshrink.exit_spec import CONFIDENCES
from tfshrink.exit_spec import POLICY
from tfshrink.files import write_json

OF_STATES = ("classifier", "cosine")  # the others read candidates' logits


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExitPolicy:
    """What a policy looks at, and its perceptron of one hidden layer.

    Its input F is, in this order: the log odds of R confidences, standardized;
    which of E exits, one-hot; the share of the text that is made, 0..1. What
    comes out is the logit of leaving (`ops.exit_policy`).

    Args:
        layers: Blocks of the exits it was made for, E numbers.
        reads: Confidences it looks at, of `CONFIDENCES`, R names.
        center: Mean of their log odds, R numbers.
        spread: Deviation of them, R numbers.
        weights: Arrays `(F, hidden)`, `(hidden,)`, `(hidden, 1)`, `(1,)`.
        made: Dict: how it was trained.

    Raises:
        UserError: Parts that do not fit each other.
    """

    layers: tuple
    reads: tuple
    center: tuple
    spread: tuple
    weights: tuple
    made: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for name in ("layers", "reads", "center", "spread"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        arrays = tuple(np.asarray(own, "float32") for own in self.weights)
        object.__setattr__(self, "weights", arrays)
        count = len(self.reads)
        width = count + len(self.layers) + 1
        hidden = arrays[0].shape[-1] if arrays and arrays[0].ndim else 0
        shapes = [(width, hidden), (hidden,), (hidden, 1), (1,)]
        fits = (
            set(self.reads) <= set(CONFIDENCES)
            and len(self.center) == len(self.spread) == count
            and [own.shape for own in arrays] == shapes
        )
        if not fits:
            raise UserError(
                "`weights` must be a policy whose parts fit each other. "
                f"Received: reads {', '.join(self.reads)}, shapes "
                f"{[own.shape for own in arrays]} for {len(self.layers)} exits"
            )

    @property
    def reads_logits(self):
        """Whether candidates must be scored before it can say anything."""
        return not set(self.reads) <= set(OF_STATES)

    def check(self, layers):
        """Raises a `UserError` unless it was made for these exits."""
        if tuple(layers) != self.layers:
            raise UserError(
                "`exit` policy must be used at the exits it was trained for, "
                f"behind blocks {_joined(self.layers)}. "
                f"Received: {_joined(layers)}"
            )

    def write(self, path):
        """Writes it as JSON."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
        }
        write_json(path, values)

    @classmethod
    def read(cls, path):
        """Reads the JSON of `write`.

        Raises:
            UserError: No such file, or not of a policy.
        """
        try:
            values = json.loads(pathlib.Path(path).read_text("utf-8"))
            return cls(**values)
        except (OSError, *DAMAGE) as error:
            raise UserError(
                "`exit` policy needs weights=FILE of bin/diagnose exits --ppo. "
                f"Received: {path}: {error}"
            ) from error

    @classmethod
    def of_spec(cls, spec):
        """The policy that an `ExitSpec` names, or `None`."""
        return cls.read(spec.weights) if spec.confidence == POLICY else None


def _joined(layers):
    return ",".join(map(str, layers))
