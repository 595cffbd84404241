"""One training loop for all styles."""

import math

import keras
import numpy as np
from keras import ops

from tfshrink import backend
from tfshrink.errors import UserError
from tfshrink.fusion import fuse
from tfshrink.structure import plan_tensor
from tfshrink.training.adam import FusedAdam
from tfshrink.training.devices import first_device
from tfshrink.training.devices import on_every_device
from tfshrink.training.devices import share_of_device
from tfshrink.training.devices import spread_rows
from tfshrink.training.devices import summed_over_devices
from tfshrink.training.language_loss import LanguageLoss
from tfshrink.training.parts import part_variables
from tfshrink.training.schedules import cosine_rate
from tfshrink.training.teacher import Teacher

# Share of the steps in which the rate rises: Adam's first steps are as long as
# all others, whatever the gradient, and would undo a good start.
WARMUP = 0.2
RATES = {
    "adapters": 1e-3,
    "exits": 1e-3,
    "latents": 3e-2,
    "norms": 1e-4,
    "scales": 1e-3,
    "weights": 2e-5,
}


class DivergedError(UserError):
    """The loss of a run is no longer a finite number."""


class Trainer:
    """Trains scales, codes and adapters of a switchable decoder.

    A step asks the style for its updates. Each term of an update runs one
    compiled function (the plan is its argument) that adds to the gradient
    accumulators; then the optimizers move. So every style, plan and number
    of plans shares one compile.

    Args:
        model: Built `Decoder` with a `PrecisionConfig`.
        style: Function of a step to updates (lists of `Term`).
        steps: Length of the run; the learning rate decays to it.
        parts: What is trained, of `parts.PARTS`.
        rates: Peak learning rate by part, over `RATES`.
        distill: Whether the full-precision model is a teacher.
        cross_entropy: Weight of the cross-entropy with the text.
        accumulation: Batches per term of an update.
        clip: Largest global norm of a part's gradient.
        bit_rates: Scale the learning rate by the update's mean bits / 8.
        codecs: `BlockCodecs` that older keys and values are seen through, by
            all but the teacher; `None` is exactly.
        exits: `ExitLoss` of a model that tokens may leave early, or `None`.
        objective: What is learned of a batch, called as `LanguageLoss` is,
            which is the default.
        rate_of: Function of step, `total`, `peak` and `warmup` to the learning
            rate.

    Example:
        >>> trainer = Trainer(model, style=style, steps=100)
        >>> metrics = trainer.step(0, lambda micro: batches.at(micro))
    """

    def __init__(
        self,
        model,
        *,
        style,
        steps,
        parts=("adapters",),
        rates=None,
        distill=True,
        cross_entropy=0.0,
        accumulation=1,
        clip=1.0,
        bit_rates=False,
        codecs=None,
        exits=None,
        objective=None,
        rate_of=cosine_rate,
    ):
        self.model = model
        self.style = style
        self.steps = steps
        self.rates = {**RATES, **(rates or {})}
        # What exits learn, frozen blocks say in the same pass.
        self.distill = distill and not (exits and exits.frozen)
        self.accumulation = accumulation
        self.clip = clip
        self.bit_rates = bit_rates
        self.exits = exits
        self.rate_of = rate_of
        self.objective = objective or LanguageLoss(
            model, cross_entropy=cross_entropy, codecs=codecs, exits=exits
        )
        self.parts = part_variables(model, parts)
        if exits and exits.variables:
            self.parts["exits"] = self.parts["exits"] + exits.variables
        self.variables = sum(self.parts.values(), [])
        if not self.variables:
            raise UserError(
                "`parts` must name something this model has to train. "
                f"Received: {tuple(parts)}"
            )
        self._build()

    def _build(self):
        self.sums = [
            keras.Variable(
                np.zeros(v.shape, "float32"),
                trainable=False,
                # Each device has its own, summed where they are read.
                synchronization="on_read",
                aggregation="sum",
                name=f"sum_{i}",
            )
            for i, v in enumerate(self.variables)
        ]
        self.optimizers = {}
        for name, variables in self.parts.items():
            optimizer = FusedAdam(self.rates[name], beta_2=0.99, name=name)
            optimizer.build(variables)
            self.optimizers[name] = optimizer
        state = sum((o.variables for o in self.optimizers.values()), [])
        everything = self.model.variables + self.sums
        everything += self.exits.variables if self.exits else []
        if self.distill:
            shared = (self.parts.get(name, []) for name in ("norms", "weights"))
            self.teacher = Teacher(
                self.model,
                trained=sum(shared, []),
                batches=self.accumulation,
            )
        self._accumulate = backend.Compiled(
            on_every_device(self._term), everything
        )
        self._apply = backend.Compiled(self._update, everything + state)

    @property
    def traces(self):
        """How often the term function was traced."""
        return self._accumulate.traces

    def state(self):
        """Variables of an exact resume, by a name that is stable."""
        named = {}
        for name, optimizer in self.optimizers.items():
            for index, variable in enumerate(optimizer.variables):
                named[f"optimizer/{name}/{index:05d}"] = variable
        for index, variable in enumerate(self.variables):
            named[f"trained/{index:05d}"] = variable
        return named

    def snapshot(self):
        """The values of `state`, NumPy."""
        return {name: np.asarray(v) for name, v in self.state().items()}

    def restore(self, values):
        """Assigns what `snapshot` returned."""
        for name, variable in self.state().items():
            variable.assign(values[name])
        for total in self.sums:
            total.assign(np.zeros(total.shape, "float32"))

    def step(self, step, batch_at):
        """Runs the updates of one step.

        Args:
            step: From 0.
            batch_at: Function of a micro-batch number to a batch; numbers
                `step * accumulation` onwards belong to this step.

        Returns:
            Dict with `loss` and `entropy` (nats per token, mean over plans),
            `losses` by plan name, `gradient_norm` and `tokens` counted; with
            exits, `exit_losses` by layer.

        Raises:
            DivergedError: naming step and plan; a loss is checked before
                anything is applied.
        """
        micros = range(step * self.accumulation, (step + 1) * self.accumulation)
        batches = [batch_at(micro) for micro in micros]
        tokens = int(sum(batch["mask"].sum() for batch in batches))
        batches = [spread_rows(batch) for batch in batches]
        teachers = [self.said(batch) for batch in batches]
        now = self.objective.at(step)
        losses, values, norms = {}, [], []
        for update in self.style(step):
            terms = self._terms(update, batches, teachers, now)
            for plan, *found in terms:
                self._check(found[0], step, plan)
                losses[plan.name] = found[0]
                values.append(found)
            norms.append(self._move(step, update))
            self._check(norms[-1], step, update[-1].plan)
        loss, entropy, *exits = np.mean(values, axis=0).tolist()
        metrics = {
            "loss": loss,
            "entropy": entropy,
            "losses": losses,
            "gradient_norm": float(np.mean(norms)),
            "tokens": tokens,
        }
        if self.exits:
            own = zip(self.exits.layers, exits, strict=True)
            metrics["exit_losses"] = {str(layer): x for layer, x in own}
        return metrics

    def said(self, batch):
        """What the teacher says about a batch; nothing without one."""
        return self.teacher(batch["tokens"]) if self.distill else {}

    def _terms(self, update, batches, teachers, now):
        """Adds up the gradients of an update.

        Returns:
            List of `(plan, loss, cross-entropy, *losses of the exits)`.
        """
        share = np.float32(1.0 / (len(update) * len(batches)))
        results = []
        outputs = [[None] * len(batches) for _ in update]
        for place, term in enumerate(update):
            bits = plan_tensor(self.model.config, term.plan)
            values = []
            for index, batch in enumerate(batches):
                guides = [
                    (
                        outputs[i][index],
                        plan_tensor(self.model.config, update[i].plan),
                    )
                    for i in term.learns_from
                ]
                found, hidden = self._accumulate(
                    batch,
                    bits,
                    share,
                    teachers[index],
                    guides,
                    now,
                )
                outputs[place][index] = hidden
                values.append([float(first_device(x)) for x in found])
            means = np.mean(values, axis=0).tolist()
            results.append((term.plan, *means))
        return results

    def _term(self, batch, bits, share, teacher, guides, now):
        """Loss of one plan on one batch; its gradient joins the sums."""
        own = share_of_device(ops.sum(batch["mask"][:, 1:]))

        def forward():
            loss, *found = self.objective(batch, bits, teacher, guides, now)
            return loss, tuple(found)

        _, (values, hidden), gradients = backend.value_and_gradients(
            forward, self.variables, dense=False
        )
        for total, gradient in zip(self.sums, gradients, strict=True):
            backend.add_gradient(total, gradient, share * own)
        return (
            [summed_over_devices(value * own) for value in values],
            ops.stop_gradient(hidden),
        )

    def _move(self, step, update):
        """Applies and clears the accumulated gradients; returns their norm."""
        rates = []
        for name in self.parts:
            rate = self.rate_of(
                step, total=self.steps, peak=self.rates[name], warmup=WARMUP
            )
            if self.bit_rates:
                bits = [b for t in update for b in t.plan.bits[:-1]]
                rate *= min(1.0, float(np.mean(bits)) / 8.0)
            rates.append(rate)
        return float(self._apply(np.asarray(rates, "float32")))

    def _update(self, rates):
        start, squares = 0, 0.0
        for index, (name, variables) in enumerate(self.parts.items()):
            stop = start + len(variables)
            sums = self.sums[start:stop]
            sums = [ops.convert_to_tensor(total) for total in sums]
            power = sum(fuse(_power)(total) for total in sums)
            factor = ops.minimum(1.0, self.clip / (ops.sqrt(power) + 1e-12))
            gradients = [total * factor for total in sums]
            optimizer = self.optimizers[name]
            optimizer.learning_rate = rates[index]
            optimizer.apply(gradients, variables)
            squares = squares + power
            start = stop
        for total in self.sums:
            total.assign(ops.zeros(total.shape, "float32"))
        return ops.sqrt(squares)

    def check_variables(self, step):
        """Raises a `DivergedError` unless all that is trained is finite."""
        for variable in self.variables:
            if not np.isfinite(np.asarray(variable)).all():
                raise DivergedError(
                    f"{variable.path} is not finite after step {step + 1}: "
                    "a lower --learning_rate may help."
                )

    def _check(self, value, step, plan):
        if not math.isfinite(value):
            raise DivergedError(
                f"The loss of plan {plan.name} became {value} at step "
                f"{step + 1}: "
                "a lower --learning_rate, or --resume from the last "
                "checkpoint, may help."
            )


def _power(x):
    return ops.sum(ops.square(x))
