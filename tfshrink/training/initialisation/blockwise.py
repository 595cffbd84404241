"""Fits one block at a time to its full-precision output."""

import numpy as np
from keras import ops

from tfshrink import backend
from tfshrink.training.adam import FusedAdam
from tfshrink.training.parts import PARTS
from tfshrink.training.schedules import cosine_rate

RATES = {"latents": 1e-2, "scales": 3e-2, "adapters": 5e-3}
# Adam's first steps are as long as all others, whatever the gradient: without
# a long rise they throw away what rounding has found.
WARMUP = 0.3


class BlockFitter:
    """Trains scales and adapters of a block against its own output.

    Args:
        runner: `BlockRunner`, whose scratch block is trained.
        parts: Which of `latents`, `scales`, `adapters` to train. Default:
            scales and adapters, or scales and latents without adapters.
        epochs: Passes over the calibration sequences.
        batch_size: Sequences a step.
        rates: Peak learning rates over the default ones.
        seed: Of the order of the sequences.

    Reference: Chen et al., EfficientQAT, arXiv:2407.11062, section 3.2.
    """

    def __init__(
        self,
        runner,
        *,
        parts=None,
        epochs=2,
        batch_size=2,
        rates=None,
        seed=0,
    ):
        self.runner = runner
        self.epochs = epochs
        self.batch_size = batch_size
        # Finer grids need less correction; adapters have their gain for that.
        shrink = 2.0 ** ((2 - runner.bits) / 3)
        own = {**RATES, "scales": shrink * RATES["scales"]}
        self.rates = {**own, **(rates or {})}
        self.seed = seed
        trainable = runner.block.trainable_variables
        if parts is None:
            has_adapters = any(PARTS["adapters"](v.path) for v in trainable)
            parts = ("scales", "adapters" if has_adapters else "latents")
        self.variables = {
            name: [v for v in trainable if PARTS[name](v.path)]
            for name in parts
        }
        self.optimizers = {}
        for name, variables in self.variables.items():
            optimizer = FusedAdam(self.rates[name], beta_2=0.99)
            optimizer.build(variables)
            self.optimizers[name] = optimizer
        state = sum((o.variables for o in self.optimizers.values()), [])
        self._step = backend.Compiled(
            self._train_step, runner.block.variables + state
        )

    def fit(self, states, wanted):
        """Trains the block that the runner holds.

        Args:
            states: Inputs `(N, T, C)`, NumPy.
            wanted: Full-precision outputs `(N, T, C)`, NumPy.

        Returns:
            Mean relative squared error of the last epoch.
        """
        _start_latents(self.runner.block, self.runner.bits)
        for optimizer in self.optimizers.values():
            for variable in optimizer.variables:
                if "learning_rate" not in variable.path:
                    variable.assign(ops.zeros_like(variable.value))
        scale = np.float32(1.0 / np.var(wanted))
        size = min(self.batch_size, len(states))
        steps = len(states) // size
        losses = []
        for epoch in range(self.epochs):
            rng = np.random.default_rng((self.seed, epoch))
            order = rng.permutation(len(states))
            for step in range(steps):
                rows = order[step * size : (step + 1) * size]
                rate = cosine_rate(
                    epoch * steps + step,
                    total=steps * self.epochs,
                    peak=1.0,
                    warmup=WARMUP,
                )
                losses.append(
                    self._step(
                        states[rows], wanted[rows], scale, np.float32(rate)
                    )
                )
        return float(np.mean([float(x) for x in losses[-steps:]]))

    def _train_step(self, states, wanted, scale, factor):
        variables = sum(self.variables.values(), [])
        runner = self.runner

        def forward():
            error = runner.run(states) - wanted
            return ops.mean(error * error) * scale, 0.0

        loss, _, gradients = backend.value_and_gradients(forward, variables)
        start = 0
        for name, own in self.variables.items():
            optimizer = self.optimizers[name]
            optimizer.learning_rate = factor * self.rates[name]
            optimizer.apply(gradients[start : start + len(own)], own)
            start += len(own)
        return loss


def _start_latents(block, bits):
    """Puts latent codes where the weight is, inside the cell of its code.

    An integer says nothing of where in its cell a weight lies; the fraction
    tells to which neighbour it would go first.
    """
    for members in block.groups().values():
        for member in members:
            quantizer = member.quantizer
            codes = np.asarray(quantizer.bank)[0]
            exact = quantizer.positions(member.kernel, bits)
            inside = codes + np.clip(exact - codes, -0.45, 0.45)
            quantizer.set_codes(bits, inside)
