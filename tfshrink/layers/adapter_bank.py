"""One LoRA adapter per trained bit-width, in one padded bank."""

import keras
import numpy as np
from keras import ops

from tfshrink.layers.precision_config import PrecisionConfig


class AdapterBank(keras.layers.Layer):
    """Low-rank adapters of which the bit-width picks one.

    All adapters are padded to the largest rank; a mask silences the padding,
    and every column of a width that was not trained.

    Args:
        inputs: Input width.
        outputs: Output width.
        precision: `PrecisionConfig`.

    Call arguments:
        x: `(..., inputs)`.
        bits: Scalar integer tensor.

    Returns:
        `(..., outputs)`: `alpha * (x A) B` of the adapter of `bits`.

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
        widths, ranks = self.precision.widths, self.precision.ranks
        rank = max(ranks)
        self.down = self.add_weight(
            name="down",
            shape=(len(widths), self.inputs, rank),
            initializer=keras.initializers.RandomUniform(
                -(self.inputs**-0.5), self.inputs**-0.5, seed=_seed(self.path)
            ),
            autocast=False,
        )
        self.up = self.add_weight(
            name="up",
            shape=(len(widths), rank, self.outputs),
            initializer="zeros",
            autocast=False,
        )
        gains = np.zeros((len(widths), rank), "float32")
        for row, own in enumerate(ranks):
            gains[row, :own] = self.precision.alpha
        self._gains = gains

    def _pick(self, bits):
        """`(A, gain, B)` of `bits`: (inputs, R), (R,), (R, outputs)."""
        widths = ops.convert_to_tensor(self.precision.widths, "int32")
        matches = ops.cast(ops.equal(widths, bits), "int32")
        index = ops.argmax(matches)
        known = ops.cast(ops.max(matches), "float32")
        gain = ops.take(ops.convert_to_tensor(self._gains), index, axis=0)
        down = ops.take(self.down, index, axis=0)
        up = ops.take(self.up, index, axis=0)
        return down, gain * known, up

    def call(self, x, bits):
        down, gain, up = self._pick(ops.convert_to_tensor(bits, "int32"))
        dtype = self.compute_dtype
        narrow = ops.matmul(x, ops.cast(down * gain, dtype))
        return ops.matmul(narrow, ops.cast(up, dtype))

    def delta(self, bits):
        """The adapter as one matrix `(inputs, outputs)`, float32."""
        down, gain, up = self._pick(ops.convert_to_tensor(bits, "int32"))
        return ops.matmul(down * gain, up)

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
