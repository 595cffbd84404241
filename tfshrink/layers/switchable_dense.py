"""A dense layer whose precision is an argument of its call."""

import keras
from keras import ops

from tfshrink.backend import multiply
from tfshrink.backend import multiply_rows
from tfshrink.layers.adapter_bank import AdapterBank
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.layers.removal import split
from tfshrink.layers.removal import without
from tfshrink.layers.weight_quantizer import WeightQuantizer
from tfshrink.ops.low_rank import adapted_matmuls
from tfshrink.ops.prune import prune_mask
from tfshrink.ops.quantize import FULL
from tfshrink.ops.quantize import quantize_activations

FEW = 16  # tokens a sequence below which merging costs more than it saves


class SwitchableDense(keras.layers.Layer):
    """Dense layer at any bit-width, with a LoRA adapter per trained width.

    Args:
        units: Output width.
        use_bias: Whether to add a bias.
        precision: `PrecisionConfig`, or `None` for a plain dense layer.
        parts: Parts of equal size that the outputs are; a plan may remove the
            last of them. 0 where it may not.

    Call arguments:
        x: `(..., inputs)`.
        bits: Scalar integer tensor, or `None` for full precision (which is
            then compiled without any quantization). Or `(2,)`: the bit-width,
            and how many of `parts` are removed: these outputs are 0. Or `(3,)`,
            with how many weights are pruned, as `ops.prune` counts them.

    Returns:
        `(..., units)`.

    Example:
        >>> layer = SwitchableDense(8, precision=PrecisionConfig(group=0))
        >>> layer(keras.ops.ones((2, 64)), bits=4).shape
        (2, 8)
    """

    def __init__(
        self, units, use_bias=False, precision=None, parts=0, **kwargs
    ):
        super().__init__(**kwargs)
        if isinstance(precision, dict):
            precision = PrecisionConfig.from_json(precision)
        self.units = units
        self.use_bias = use_bias
        self.precision = precision
        self.parts = parts
        self.quantizer = None
        self.adapters = None
        self.tap = None  # called with the input while calibrating
        self.disturb = None  # what its input becomes in a test of robustness
        self.resolved = False  # its kernel is in force as it is
        self.turned = False  # that kernel is `(units, inputs)`
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
        return project([self], x, bits)[0]

    def kernel_at(self, bits, delta=None, pruned=None):
        """The kernel in force, in the compute type.

        Args:
            bits: Scalar integer tensor, or `None`.
            delta: What to add to the quantized kernel, or `None`.
            pruned: How many of its weights are 0, or `None`.
        """
        kernel = self.kernel
        if self.resolved or self.precision is None or bits is None:
            return ops.cast(kernel, self.compute_dtype)
        if self.adapters is not None and self.precision.placement == "inside":
            kernel = kernel + self.adapters.delta(bits)
        if pruned is None:
            return self.quantizer(kernel, bits, delta)
        # Zero is a level from 3 bits on, so what is left is on the grid.
        mask = prune_mask(ops.stop_gradient(kernel), pruned)
        out = self.quantizer(kernel, bits) * ops.cast(mask, self.compute_dtype)
        return out if delta is None else out + ops.cast(delta, out.dtype)

    def has_side_adapter(self, bits):
        """Whether an adapter works beside the kernel."""
        return (
            bits is not None
            and not (self.resolved and not self.precision.activations)
            and self.adapters is not None
            and self.precision.placement == "side"
        )

    def compute_output_shape(self, input_shape, bits=None):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        precision = self.precision
        return {
            **super().get_config(),
            "units": self.units,
            "use_bias": self.use_bias,
            "precision": precision and precision.to_json(),
            "parts": self.parts,
        }


def project(layers, x, bits=None):
    """Runs dense layers that read one input.

    Args:
        layers: Built `SwitchableDense` layers of one `PrecisionConfig`.
        x: `(B, T, inputs)`, or `(..., inputs)`.
        bits: As `SwitchableDense` takes them.

    Returns:
        A list of their outputs, `(..., units)`.
    """
    for layer in layers:
        if layer.tap is not None:
            layer.tap(x)
    if layers[0].disturb is not None:
        x = layers[0].disturb(x)
    precision = layers[0].precision
    bits, removed, pruned = split(None if precision is None else bits)
    x = ops.cast(x, layers[0].compute_dtype)
    few = x.shape[-2] is not None and x.shape[-2] < FEW
    if bits is not None and precision.activations:
        # Full-precision weights have no int8 kernel: floats meet floats.
        x = ops.where(bits >= FULL, x, quantize_activations(x))
        few = True  # rounded inputs meet the kernel that ships, unmerged
    if few or not layers[0].has_side_adapter(bits):
        outputs = [_alone(layer, x, bits, pruned) for layer in layers]
    else:
        outputs = _merged(layers, x, bits, pruned)
    outputs = [
        out if layer.bias is None else out + ops.cast(layer.bias, out.dtype)
        for layer, out in zip(layers, outputs, strict=True)
    ]
    if removed is None or not layers[0].parts:
        return outputs
    return [
        without(out, layer.parts, removed)
        for layer, out in zip(layers, outputs, strict=True)
    ]


def _alone(layer, x, bits, pruned):
    """Kernel, and the adapter beside it."""
    kernel = layer.kernel_at(bits, pruned=pruned)
    out = multiply_rows(x, kernel) if layer.turned else ops.matmul(x, kernel)
    return (
        out + layer.adapters(x, bits) if layer.has_side_adapter(bits) else out
    )


def _merged(layers, x, bits, pruned):
    """The adapters inside the kernels."""
    kernels, downs, ups = [], [], []
    for layer in layers:
        own = layer.adapters.factors(bits)
        down, up = (ops.cast(factor, x.dtype) for factor in own)
        delta = ops.stop_gradient(multiply(down, up, transpose_a=True))
        kernels.append(layer.kernel_at(bits, delta, pruned))
        downs.append(down)
        ups.append(up)
    rows = ops.reshape(x, (-1, x.shape[-1]))
    leading = ops.shape(x)[:-1]
    return [
        ops.reshape(out, (*leading, layer.units))
        for layer, out in zip(
            layers, adapted_matmuls(rows, kernels, downs, ups), strict=True
        )
    ]
