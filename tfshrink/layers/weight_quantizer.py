"""The scales and code banks of one weight."""

import functools

import keras
import numpy as np
from keras import ops

from tfshrink.errors import UserError
from tfshrink.fusion import fuse
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.ops import quantize
from tfshrink.ops.scale_search import peak_scale
from tfshrink.ops.scale_search import search_scale


class WeightQuantizer(keras.layers.Layer):
    """Quantizes one weight at a bit-width that is known at run time.

    Holds a learned scale for every bit-width 2..8 (as its logarithm, so that
    a step of the optimizer is a relative change) and, where the precision
    config asks for it, integer codes per trained width. Group scales are
    bfloat16 values, as the kernels that ship hold them.

    Args:
        precision: `PrecisionConfig`.
        axis: Input axis of the weight: 0 for kernels `(inputs, outputs)`, 1
            for tables `(V, C)`.

    Call arguments:
        weight: Full-precision weight.
        bits: Scalar integer tensor.
        delta: What to add to the quantized weight, of its shape, or `None`.

    Returns:
        The weight at `bits`, in the compute type, of the same shape.

    Raises:
        UserError: when the group does not divide the inputs.

    Example:
        >>> quantizer = WeightQuantizer(PrecisionConfig(), name="query")
        >>> quantizer(kernel, 4).shape
        (576, 576)
    """

    def __init__(self, precision, axis=0, **kwargs):
        # Scales and weights stay float32 whatever the compute type.
        kwargs["autocast"] = False
        super().__init__(**kwargs)
        if isinstance(precision, dict):
            precision = PrecisionConfig.from_json(precision)
        self.precision = precision
        self.axis = axis

    def build(self, weight_shape):
        precision = self.precision
        inputs = weight_shape[self.axis]
        outputs = weight_shape[1 - self.axis]
        if precision.group and inputs % precision.group:
            raise UserError(
                f"`group` must divide the {inputs} inputs of {self.path}. "
                f"Received: group={precision.group}"
            )
        self.groups = inputs // precision.group if precision.group else 1
        self.fine_widths = tuple(
            b for b in quantize.WIDTHS if precision.group_of(b)
        )
        self.channel_widths = tuple(
            b for b in quantize.WIDTHS if not precision.group_of(b)
        )
        self.channel_scales = self.add_weight(
            name="channel_scales",
            shape=(len(self.channel_widths), *self._scale_shape(1, outputs)),
            initializer="zeros",
            autocast=False,
        )
        self.group_scales = None
        if self.fine_widths:
            self.group_scales = self.add_weight(
                name="group_scales",
                shape=(
                    len(self.fine_widths),
                    *self._scale_shape(self.groups, outputs),
                ),
                initializer="zeros",
                autocast=False,
            )
        self.bank = None
        if precision.banked:
            latent = precision.bank == "latent"
            self.bank = self.add_weight(
                name="bank",
                shape=(len(precision.banked), *weight_shape),
                dtype="float32" if latent else "int8",
                initializer="zeros",
                trainable=latent,
                autocast=False,
            )

    def _scale_shape(self, groups, outputs):
        return (groups, outputs) if self.axis == 0 else (outputs, groups)

    def scale(self, bits):
        """The scale in force at `bits`, in the finest grouping.

        Returns:
            `(groups, outputs)` for kernels, `(V, groups)` for tables.
        """
        bits = ops.convert_to_tensor(bits, "int32")
        coarse = _lookup(self.channel_scales, self.channel_widths, bits)
        scale = ops.exp(coarse)
        if self.group_scales is None:
            return scale
        fine = _lookup(self.group_scales, self.fine_widths, bits)
        fine = quantize.round_bfloat16(ops.exp(fine))
        return ops.where(bits <= max(self.fine_widths), fine, scale)

    def call(self, weight, bits, delta=None):
        bits = ops.convert_to_tensor(bits, "int32")
        banked = () if self.bank is None else self.precision.banked
        arguments = [weight, self.scale(bits), bits]
        if banked:
            arguments.append(_lookup(self.bank, banked, bits))
        if delta is not None:
            arguments.append(delta)
        quantized = _quantizer(self.axis, banked, self.compute_dtype)
        return fuse(quantized)(*arguments)

    def rows(self, table, tokens, bits):
        """Looks up and quantizes only the rows of a table that are needed.

        Args:
            table: `(V, C)`.
            tokens: Integer `(B, T)`.
            bits: Scalar integer tensor.

        Returns:
            `(B, T, C)` in the compute type.
        """
        bits = ops.convert_to_tensor(bits, "int32")
        flat = ops.reshape(tokens, (-1,))
        rows = ops.take(table, flat, axis=0)
        scale = ops.take(self.scale(bits), flat, axis=0)
        shape = (-1, scale.shape[-1], table.shape[1] // scale.shape[-1])
        out = quantize.fake_quantize(
            ops.reshape(rows, shape), ops.expand_dims(scale, -1), bits
        )
        if self.bank is not None:
            codes = _lookup(self.bank, self.precision.banked, bits)
            levels = quantize.dequantize_weight(
                ops.take(codes, flat, axis=0), scale, bits, axis=1
            )
            out = ops.where(
                _is_one_of(bits, self.precision.banked),
                ops.reshape(levels, ops.shape(out)),
                out,
            )
        out = ops.reshape(out, (*ops.shape(tokens), table.shape[1]))
        return ops.cast(out, self.compute_dtype)

    def groups_at(self, bits):
        """Number of scales along the inputs at `bits`."""
        return self.groups if bits in self.fine_widths else 1

    def fit(self, weight, widths, *, method="mse", importance=None):
        """Sets scales, and banked codes, by rounding to nearest.

        Args:
            weight: The full-precision weight.
            widths: Bit-widths to fit.
            method: `"rtn"` (peak) or `"mse"` (least squared error).
            importance: As in `search_scale`.
        """
        weight = ops.convert_to_tensor(weight, "float32")
        for bits in widths:
            groups = self.groups_at(bits)
            if method == "rtn":
                grouped = quantize.group_view(weight, groups, self.axis)
                scale = peak_scale(grouped, bits, self.axis)
            else:
                scale = search_scale(
                    weight,
                    bits,
                    groups,
                    axis=self.axis,
                    importance=importance,
                )
            self.set_scale(bits, np.asarray(scale))
            if bits in self.precision.banked:
                self.set_codes(bits, self.codes(weight, bits))

    def positions(self, weight, bits):
        """Weights in steps of the scale, less the offset, NumPy float32."""
        weight = ops.convert_to_tensor(weight, "float32")
        scale = self.scale(bits)
        grouped = quantize.group_view(weight, scale.shape[self.axis], self.axis)
        steps = grouped / quantize.spread(scale, self.axis)
        return np.asarray(steps - quantize.grid(bits)[2]).reshape(weight.shape)

    def codes(self, weight, bits):
        """Nearest codes of a weight, NumPy int8, without the offset."""
        low, high, _ = (float(x) for x in quantize.grid(bits))
        codes = np.rint(self.positions(weight, bits))
        return np.clip(codes, low, high).astype("int8")

    def is_fitted(self, bits):
        """Whether `bits` needs no scale or was given one."""
        if bits >= quantize.FULL:
            return True
        variable, row = self._scales_of(bits)
        return bool(np.asarray(variable)[row].any())

    def _scales_of(self, bits):
        """The variable that holds the scale of `bits`, and its row."""
        if bits in self.fine_widths:
            return self.group_scales, self.fine_widths.index(bits)
        return self.channel_scales, self.channel_widths.index(bits)

    def set_scale(self, bits, scale):
        """Assigns the scale of one bit-width (NumPy, linear, positive)."""
        variable, row = self._scales_of(bits)
        values = np.array(variable)
        values[row] = np.log(scale)
        variable.assign(values)

    def set_codes(self, bits, codes):
        """Assigns the codes of one banked width (NumPy, without offset)."""
        values = np.array(self.bank)
        values[self.precision.banked.index(bits)] = codes
        self.bank.assign(values)

    def compute_output_shape(self, weight_shape):
        return weight_shape

    def get_config(self):
        return {
            **super().get_config(),
            "precision": self.precision.to_json(),
            "axis": self.axis,
        }


@functools.cache
def _quantizer(axis, banked, dtype):
    """Shared weight or codes to the weight at `bits`, in one pass."""

    def finished(weight, delta):
        if delta:
            weight = weight + ops.cast(delta[0], "float32")
        return ops.cast(weight, dtype)

    def shared(weight, scale, bits, *delta):
        weight = quantize.quantize_weight(weight, scale, bits, axis=axis)
        return finished(weight, delta)

    def own(weight, scale, bits, codes, *delta):
        def from_codes():
            levels = quantize.dequantize_weight(codes, scale, bits, axis=axis)
            return finished(levels, delta)

        return ops.cond(
            _is_one_of(bits, banked),
            from_codes,
            lambda: shared(weight, scale, bits, *delta),
        )

    return own if banked else shared


def _lookup(bank, widths, bits):
    """Row of `bank` that belongs to `bits` (row 0 for a stranger)."""
    matches = ops.equal(ops.convert_to_tensor(widths, "int32"), bits)
    index = ops.argmax(ops.cast(matches, "int32"))
    return ops.take(bank, index, axis=0)


def _is_one_of(bits, widths):
    return ops.any(ops.equal(ops.convert_to_tensor(widths, "int32"), bits))
