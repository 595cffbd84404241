"""Fits one block at a time to its full-precision output."""

import dataclasses

import keras
import numpy as np
from keras import ops

from tfshrink import backend
from tfshrink.layers.block import Block
from tfshrink.models.checkpoint import variable_name
from tfshrink.training.parts import PARTS
from tfshrink.training.schedules import cosine_rate

RATES = {"latents": 2e-2, "scales": 2e-3, "adapters": 1e-3}


class BlockFitter:
    """Trains codes and scales of a block against its own output.

    One scratch block is compiled; the blocks of the model are copied in and
    out of it, so that thirty blocks cost one compile.

    Args:
        model: Decoder with a latent bank (or adapters to train).
        context: `(rotation, mask)` of the calibration sequences.
        parts: Which of `latents`, `scales`, `adapters` to train.
        epochs: Passes over the calibration sequences.
        batch_size: Sequences a step.
        rates: Learning rates over `RATES`.
        seed: Of the order of the sequences.

    Reference: Chen et al., EfficientQAT, arXiv:2407.11062, section 3.2.
    """

    def __init__(
        self,
        model,
        context,
        *,
        parts=("latents", "scales"),
        epochs=2,
        batch_size=4,
        rates=None,
        seed=0,
    ):
        self.context = context
        self.epochs = epochs
        self.batch_size = batch_size
        self.rates = {**RATES, **(rates or {})}
        self.seed = seed
        self.block = Block(
            model.config,
            dataclasses.replace(model.precision, bank="latent"),
            dtype=model.dtype_policy,
            name="block_scratch",
        )
        self.block.build((None, None, model.config.width))
        self.variables = {
            name: [
                v
                for v in self.block.trainable_variables
                if PARTS[name](v.path)
            ]
            for name in parts
        }
        self.optimizers = {}
        for name, variables in self.variables.items():
            optimizer = keras.optimizers.Adam(self.rates[name], beta_2=0.99)
            optimizer.build(variables)
            self.optimizers[name] = optimizer
        state = sum((o.variables for o in self.optimizers.values()), [])
        self._step = backend.Compiled(
            self._train_step, self.block.variables + state
        )

    def fit(self, block, states, wanted, bits):
        """Trains one block at one bit-width.

        Args:
            block: Block of the model; its scales and codes are replaced.
            states: Inputs `(N, T, C)`, NumPy.
            wanted: Full-precision outputs `(N, T, C)`, NumPy.
            bits: Bit-width.

        Returns:
            Mean loss of the last epoch.
        """
        _copy(block, self.block)
        _start_latents(block, self.block, bits)
        for optimizer in self.optimizers.values():
            for variable in optimizer.variables:
                if "learning_rate" not in variable.path:
                    variable.assign(ops.zeros_like(variable))
        bits = np.full(4, bits, "int32")
        scale = np.float32(1.0 / np.var(wanted))
        steps = len(states) // self.batch_size
        total = steps * self.epochs
        losses = []
        for epoch in range(self.epochs):
            rng = np.random.default_rng((self.seed, epoch))
            order = rng.permutation(len(states))
            for step in range(steps):
                rows = order[step * self.batch_size :][: self.batch_size]
                factor = cosine_rate(
                    epoch * steps + step, total=total, peak=1.0
                )
                losses.append(
                    self._step(
                        states[rows],
                        wanted[rows],
                        bits,
                        scale,
                        np.float32(factor),
                    )
                )
        _copy(self.block, block)
        return float(np.mean([float(x) for x in losses[-steps:]]))

    def _train_step(self, states, wanted, bits, scale, factor):
        variables = sum(self.variables.values(), [])

        def forward():
            x = ops.cast(states, self.block.compute_dtype)
            out, _ = self.block(x, bits, *self.context)
            error = ops.cast(out, "float32") - wanted
            return ops.mean(error * error) * scale, 0.0

        loss, _, gradients = backend.value_and_gradients(forward, variables)
        start = 0
        for name, own in self.variables.items():
            optimizer = self.optimizers[name]
            optimizer.learning_rate = factor * self.rates[name]
            optimizer.apply(gradients[start : start + len(own)], own)
            start += len(own)
        return loss


def _copy(source, target):
    """Copies every variable of one block into the other."""
    values = {_tail(v): v for v in source.variables}
    for variable in target.variables:
        value = values[_tail(variable)]
        if variable.dtype == "int8" and value.dtype != "int8":
            value = np.rint(np.asarray(value))
        variable.assign(ops.cast(value, variable.dtype))


def _start_latents(block, scratch, bits):
    """Puts latent codes where the weight is, inside the cell of its code.

    Codes that training finds hard to leave would be integers; the fraction
    says to which side a weight is nearest.
    """
    pairs = zip(block.groups().values(), scratch.groups().values(), strict=True)
    for members, others in pairs:
        for member, other in zip(members, others, strict=True):
            quantizer = other.quantizer
            row = quantizer.precision.banked.index(bits)
            bank = np.array(quantizer.bank)
            exact = quantizer.positions(member.kernel, bits)
            bank[row] += np.clip(exact - bank[row], -0.45, 0.45)
            quantizer.bank.assign(bank)


def _tail(variable):
    return variable_name(variable).split("/", 1)[1]
