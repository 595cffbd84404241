"""What tokens of a text say that leave a decoder under a policy."""

import dataclasses

import numpy as np
from keras import ops

from tfshrink.backend import Compiled
from tfshrink.errors import UserError
from tfshrink.exit_policy import ExitPolicy
from tfshrink.exits.choice import chosen_exits
from tfshrink.exits.trace import ExitTrace
from tfshrink.models.exit_states import exit_answers
from tfshrink.ops.confidence import CONFIDENCES


def check_one_pass(spec, exits):
    """Raises a `UserError` for a policy that one pass says nothing about.

    Args:
        spec: `ExitSpec`.
        exits: `ExitConfig` of the model.
    """
    if spec.missing != "lazy":
        raise UserError(
            "`exit` must be missing=lazy to be judged along a text: there "
            "alone keys and values are those of a full computation, and the "
            f"text not the full model's own. Received: {spec}"
        )
    if spec.head != "full":
        raise UserError(
            "`exit` must have head=full to be judged along a text: a "
            f"candidate's rivals have no probability. Received: {spec}"
        )
    layers = spec.layers_of(exits.layers)
    policy = ExitPolicy.of_spec(spec)
    if policy is not None:
        policy.check(layers)


@dataclasses.dataclass(frozen=True)
class Left:
    """Where each token of a text left, E exits in use.

    Args:
        exits: int32 `(N, T)`, number of the exit, E for none; NumPy.
        hidden: `(N, T, C)`, what the head read there.
        candidates: int32 `(N, T, K)`, the tokens that a token which left may
            become; of those that did not leave they say nothing. NumPy.
        early: Boolean `(N, T)`, whether it left; NumPy.
    """

    exits: np.ndarray
    hidden: object
    candidates: np.ndarray
    early: np.ndarray


class Answers:
    """What the exits in use say about a text, compiled once.

    Args:
        model: Built `Decoder` with exits.
        layers: Blocks behind which tokens may leave, E numbers.

    Call arguments:
        behind: The embedded tokens, and the states `(N, T, C)` behind each of
            the blocks: a list.
        head: The head in force, `(C, V)`.
        bits: As `Decoder` takes them, NumPy.

    Returns:
        `(answers, hidden)`: of `exit_answers`, stacked `(E, N, T, ...)`; and
        `(E, N, T, C)`, what the head reads there.
    """

    def __init__(self, model, layers):
        self.model = model
        self.layers = layers
        self._run = Compiled(self._answers, model.exit_variables)

    def __call__(self, behind, head, bits):
        return self._run(behind, head, bits)

    def _answers(self, behind, head, bits):
        model, kernel, answers, seen = self.model, ops.transpose(head), [], []
        rotation = model.rotation(ops.arange(behind[0].shape[1])[None])
        heads = dict(zip(model.exits.layers, model.exit_heads, strict=True))
        for place, layer in enumerate(self.layers):
            own, pair = heads[layer], (behind[place + 1], behind[place])
            hidden = model.for_head(own(pair[0], rotation=rotation)[0], bits)
            seen.append(hidden)
            answers.append(exit_answers(model, own, hidden, pair, kernel))
        stacked = {
            name: ops.stack([own[name] for own in answers])
            for name in answers[0]
        }
        return stacked, ops.stack(seen)


class Leaving:
    """Lets the tokens of a text leave as generation along it would.

    Every token counts as one that is made, from the first on. All blocks are
    run: with exact keys and values behind skipped layers (`missing="lazy"`) a
    token that leaves changes nothing that others see.

    Args:
        answers: `Answers` of the exits that the spec uses.
        spec: `ExitSpec` with `missing="lazy"`.

    Call arguments:
        states: Of each block its input `(N, T, C)`, and the last output.
        hidden: `(N, T, C)`, what the head reads behind all blocks.
        head: The head in force, `(C, V)`.
        bits: As `Decoder` takes them, NumPy.
        mask: Boolean `(N, T)`: tokens that are no padding.

    Returns:
        `Left`.
    """

    def __init__(self, answers, spec):
        self.answers = answers
        self.spec = spec
        self.layers = answers.layers
        self._pick = Compiled(_picked)

    def __call__(self, states, hidden, head, bits, mask):
        behind = [states[index] for index in (0, *self.layers)]
        found, seen = self.answers(behind, head, bits)
        found = {name: ops.convert_to_numpy(x) for name, x in found.items()}
        candidates = found.pop("candidates")
        exits = self._chosen(found, candidates[..., 0], mask)
        early = exits < len(self.layers)
        place = np.minimum(exits, len(self.layers) - 1)[None, :, :, None]
        return Left(
            exits=exits,
            hidden=self._pick(seen, hidden, exits),
            candidates=np.take_along_axis(candidates, place, axis=0)[0],
            early=early,
        )

    def _chosen(self, found, token, mask):
        nothing = np.zeros(mask.shape, "float32")
        trace = ExitTrace(
            layers=self.layers,
            depth=self.answers.model.config.layers,
            token=token,
            last_token=nothing.astype("int32"),
            light_token=nothing.astype("int32"),
            confidence={name: found[name] for name in CONFIDENCES},
            nats=np.zeros(token.shape, "float32"),
            last_nats=nothing,
            made=mask,
            step=np.tile(
                np.arange(mask.shape[1], dtype="int32"), (len(mask), 1)
            ),
        )
        return chosen_exits(trace, self.spec)


def _picked(seen, hidden, exits):
    """Of `(E, N, T, C)` and `(N, T, C)` the row of each token's exit."""
    every = ops.concatenate([seen, hidden[None]])
    return ops.take_along_axis(every, exits[None, :, :, None], axis=0)[0]
