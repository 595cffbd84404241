"""A dense layer whose precision is an argument of its call."""

import keras
from keras import ops

from tfshrink.layers.adapter_bank import AdapterBank
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.layers.weight_quantizer import WeightQuantizer
from tfshrink.ops.quantize import FULL
from tfshrink.ops.quantize import quantize_activations


class SwitchableDense(keras.layers.Layer):
    """Dense layer at any bit-width, with a LoRA adapter per trained width.

    Args:
        units: Output width.
        use_bias: Whether to add a bias.
        precision: `PrecisionConfig`, or `None` for a plain dense layer.

    Call arguments:
        x: `(..., inputs)`.
        bits: Scalar integer tensor, or `None` for full precision (which is
            then compiled without any quantization).

    Returns:
        `(..., units)`.

    Example:
        >>> layer = SwitchableDense(8, precision=PrecisionConfig(group=0))
        >>> layer(keras.ops.ones((2, 64)), bits=4).shape
        (2, 8)
    """

    def __init__(self, units, use_bias=False, precision=None, **kwargs):
        super().__init__(**kwargs)
        if isinstance(precision, dict):
            precision = PrecisionConfig.from_json(precision)
        self.units = units
        self.use_bias = use_bias
        self.precision = precision
        self.quantizer = None
        self.adapters = None
        self.tap = None  # called with the input while calibrating
        self.fold = None  # factors its kernel's rows carry (`models.folds`)

    def build(self, input_shape):
        inputs = input_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(inputs, self.units),
            initializer="glorot_uniform",
            autocast=False,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.units,), initializer="zeros"
            )
        if self.precision is None:
            return
        self.quantizer = WeightQuantizer(
            self.precision, dtype=self.dtype_policy, name="quantizer"
        )
        self.quantizer.build((inputs, self.units))
        if self.precision.ranks:
            self.adapters = AdapterBank(
                inputs,
                self.units,
                self.precision,
                dtype=self.dtype_policy,
                name="adapters",
            )
            self.adapters.build()

    def call(self, x, bits=None):
        if self.tap is not None:
            self.tap(x)
        if self.precision is None or bits is None:
            out = ops.matmul(x, ops.cast(self.kernel, self.compute_dtype))
        else:
            bits = ops.convert_to_tensor(bits, "int32")
            out = self._switched(x, bits)
        return out if self.bias is None else out + self.bias

    def _switched(self, x, bits):
        inside = self.precision.placement == "inside"
        kernel = self.kernel
        if self.adapters is not None and inside:
            kernel = kernel + self.adapters.delta(bits)
        kernel = self.quantizer(kernel, bits)
        if self.precision.activations:
            # Full-precision weights have no int8 kernel: floats meet floats.
            x = ops.where(bits >= FULL, x, quantize_activations(x))
        out = ops.matmul(x, kernel)
        if self.adapters is not None and not inside:
            out = out + self.adapters(x, bits)
        return out

    def compute_output_shape(self, input_shape, bits=None):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        precision = self.precision
        return {
            **super().get_config(),
            "units": self.units,
            "use_bias": self.use_bias,
            "precision": precision and precision.to_json(),
        }
