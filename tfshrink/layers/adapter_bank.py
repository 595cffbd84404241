"""One LoRA adapter per trained bit-width, in one bank."""

import keras
import numpy as np
from keras import ops

from tfshrink.backend import multiply
from tfshrink.backend import shapes_may_depend_on_values
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.ops.quantize import quantize_activations
from tfshrink.ops.quantize import round_to_int8


class AdapterBank(keras.layers.Layer):
    """Low-rank adapters of which the bit-width picks one.

    The ranks of all adapters lie behind one another in two matrices, so that
    a bank holds no padding; a width that was not trained has rank 0.

    Args:
        inputs: Input width.
        outputs: Output width.
        precision: `PrecisionConfig`.

    Call arguments:
        x: `(..., inputs)`.
        bits: Scalar integer tensor.

    Returns:
        `(..., outputs)`: `gain * (x A) B` of the adapter of `bits`; the gain
        is `alpha` at 2 bits and halves with every two bits more. With int8
        activations both factors and both inputs are int8, as they ship.

    Reference: Hu et al., LoRA, arXiv:2106.09685.
    """

    def __init__(self, inputs, outputs, precision, **kwargs):
        super().__init__(**kwargs)
        if isinstance(precision, dict):
            precision = PrecisionConfig.from_json(precision)
        self.inputs = inputs
        self.outputs = outputs
        self.precision = precision

    def build(self, input_shape=None):
        total = sum(self.precision.ranks)
        self.down = self.add_weight(
            name="down",
            shape=(total, self.inputs),
            initializer=keras.initializers.RandomUniform(
                -(self.inputs**-0.5), self.inputs**-0.5, seed=_seed(self.path)
            ),
            autocast=False,
        )
        self.up = self.add_weight(
            name="up",
            shape=(total, self.outputs),
            initializer="zeros",
            autocast=False,
        )

    def rows(self, bits):
        """Slice of the rows of `down` and `up` that are the adapter of `bits`.

        Args:
            bits: Integer; one that was not trained has no rows.
        """
        ranks, widths = self.precision.ranks, self.precision.widths
        if bits not in widths:
            return slice(0, 0)
        place = widths.index(bits)
        start = sum(ranks[:place])
        return slice(start, start + ranks[place])

    def factors(self, bits):
        """The adapter of `bits` as two matrices, float32.

        Args:
            bits: Scalar integer tensor.

        Returns:
            `(A, B)`: `(R, inputs)`, which carries the gain, and `(R,
            outputs)`. R is the rank at `bits` where shapes may depend on
            values, else the largest rank, the rows beyond the own zero.
        """
        spans = [self.rows(width) for width in self.precision.widths]
        starts = np.array([span.start for span in spans], "int32")
        ranks = np.array(self.precision.ranks, "int32")
        widths = ops.convert_to_tensor(self.precision.widths, "int32")
        matches = ops.cast(ops.equal(widths, bits), "int32")
        rank = ops.sum(matches * ops.convert_to_tensor(ranks))
        start = ops.sum(matches * ops.convert_to_tensor(starts))
        if shapes_may_depend_on_values():
            places = start + ops.arange(rank)
            down = ops.take(self.down, places, axis=0)
            up = ops.take(self.up, places, axis=0)
        else:
            own = ops.arange(int(ranks.max()))
            places = ops.minimum(start + own, int(ranks.sum()) - 1)
            used = ops.cast(own < rank, "float32")[:, None]
            down = ops.take(self.down, places, axis=0) * used
            up = ops.take(self.up, places, axis=0)
        # An optimizer's step is as large at any width, the correction is not.
        bits = ops.cast(bits, "float32")
        gain = self.precision.alpha * ops.power(2.0, 0.5 * (2.0 - bits))
        return down * gain, up

    def call(self, x, bits):
        down, up = self.factors(ops.convert_to_tensor(bits, "int32"))
        dtype, as_shipped = self.compute_dtype, self.precision.activations
        if as_shipped:
            down, up = round_to_int8(down, 1), round_to_int8(up, 0)
        narrow = ops.matmul(x, ops.cast(ops.transpose(down), dtype))
        if as_shipped:
            narrow = quantize_activations(narrow)
        return ops.matmul(narrow, ops.cast(up, dtype))

    def delta(self, bits):
        """The adapter as one matrix `(inputs, outputs)`, float32."""
        down, up = self.factors(ops.convert_to_tensor(bits, "int32"))
        return multiply(down, up, transpose_a=True)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.outputs)

    def get_config(self):
        return {
            **super().get_config(),
            "inputs": self.inputs,
            "outputs": self.outputs,
            "precision": self.precision.to_json(),
        }


def _seed(path):
    """A seed that depends on the layer alone, so that runs repeat."""
    return sum(ord(c) * (i + 1) for i, c in enumerate(path)) % (2**31)
