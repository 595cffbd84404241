"""Weights in packed bytes, and what a graph does with them.

A byte holds codes of outputs that lie far apart: the first half of the outputs
is in the low four bits, the second in the high ones. So each place in the bytes
is a part of the weight, and nothing has to be interleaved.
"""

import functools

import numpy as np
import tensorflow as tf

from tfshrink.deploy.litert.packed_weight import pack_codes
from tfshrink.ops.quantize import FULL

# Bits a code takes; between native widths the next wider one.
STORED = {2: 2, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 8: 8}


class PackedStore(tf.Module):
    """One weight at one bit-width, as few bytes as its codes need.

    Args:
        dense: `FrozenDense`.
        axis: Where the model has the weight's inputs: 0 for kernels `(inputs,
            outputs)`, 1 for tables `(V, C)`.
    """

    def __init__(self, dense, axis):
        super().__init__()
        self.axis = axis
        self.scale = self.down = self.up = self.layout = None
        turned = np.transpose if axis == 0 else np.asarray
        codes = np.ascontiguousarray(turned(dense.codes))
        if dense.scale is None:
            dtype = "float16" if dense.bits == FULL else "float32"
            self.codes = tf.Variable(codes.astype(dtype), trainable=False)
            return
        stored = STORED[dense.bits]
        if codes.shape[1 - axis] * stored % 8:
            stored = 8  # outputs that fill no whole bytes stay unpacked
        self.layout = stored, dense.bits == 2, axis
        parts = np.split(codes, 8 // stored, 1 - axis)
        packed = pack_codes(np.stack(parts, -1), stored)
        packed = packed.reshape(parts[0].shape)
        self.codes = tf.Variable(packed, trainable=False)
        # Group scales are bfloat16 values.
        dtype = "bfloat16" if dense.scale.shape[1] > 1 else "float32"
        scale = tf.cast(turned(dense.scale), dtype)
        self.scale = tf.Variable(scale, trainable=False)
        if dense.down is not None:
            self.down = tf.Variable(dense.down.astype("float16"))
            self.up = tf.Variable(dense.up.T.astype("float16"))

    def product(self, x):
        """Inputs `(B, T, inputs)` times the weight: `(B, T, outputs)`."""
        codes = tf.convert_to_tensor(self.codes)
        if self.layout is None:
            weight = tf.cast(codes, "float32")
            return tf.matmul(x, weight, transpose_b=self.axis == 1)
        product = _product(self.layout, x.shape[1] == 1)
        out = product(x, codes, tf.convert_to_tensor(self.scale))
        if self.down is None:
            return out
        down, up = (tf.cast(x, "float32") for x in (self.down, self.up))
        return out + tf.matmul(tf.matmul(x, down, transpose_b=True), up)

    def rows(self, indices):
        """Rows of a table: `(B, T, C)`."""
        if self.layout is None:
            return tf.cast(tf.gather(self.codes, indices), "float32")
        flat = tf.reshape(indices, (-1,))
        count, width = self.codes.shape  # of packed rows
        packed = tf.gather(self.codes, flat % count)
        places = [
            _codes(self.layout, packed, place)
            for place in range(8 // self.layout[0])
        ]
        own = tf.gather(tf.stack(places, 1), flat // count, batch_dims=1)
        scale = tf.cast(tf.gather(self.scale, flat), "float32")
        rows = _scaled(own + 0.5 * self.layout[1], scale, axis=1)
        return tf.reshape(rows, (*tf.unstack(tf.shape(indices)), width))


@functools.cache
def _product(layout, single):
    """Packed bytes and scales times inputs, one function a layout.

    Args:
        layout: Bits a code takes, whether half a step is added, and the axis of
            the inputs.
        single: Whether there is one token a sequence: then one sequence is
            multiplied without unpacking into memory.
    """
    axis = layout[2]

    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def unpack(codes, scale):
        return tf.concat(_parts(layout, codes, scale), 1 - axis)

    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def one(x, codes, scale):
        x = tf.reshape(x[0, 0], (-1, 1) if axis == 0 else (1, -1))
        parts = _parts(layout, codes, scale)
        return tf.concat([tf.reduce_sum(part * x, axis) for part in parts], 0)

    def many(x, codes, scale):
        return tf.matmul(x, unpack(codes, scale), transpose_b=axis == 1)

    @functools.partial(tf.function, autograph=False)
    def product(x, codes, scale):
        if not single:
            return many(x, codes, scale)
        out = tf.cond(
            tf.equal(tf.shape(x)[0], 1),
            lambda: one(x, codes, scale)[None, None],
            lambda: many(x, codes, scale),
        )
        return tf.ensure_shape(out, (None, 1, scale.shape[1 - axis]))

    return product


def _parts(layout, codes, scale):
    """The weight as floats, in parts along its outputs."""
    stored, half, axis = layout
    scales = tf.split(tf.cast(scale, "float32"), 8 // stored, 1 - axis)
    return [
        _scaled(_codes(layout, codes, place) + 0.5 * half, own, axis)
        for place, own in enumerate(scales)
    ]


def _codes(layout, packed, place):
    """The codes at one place of every byte, as floats."""
    stored = layout[0]
    # Up against the sign bit and back: the sign spreads.
    left = tf.constant(8 - stored * (place + 1), "uint8")
    moved = tf.bitcast(tf.bitwise.left_shift(packed, left), "int8")
    codes = tf.bitwise.right_shift(moved, tf.constant(8 - stored, "int8"))
    return tf.cast(codes, "float32")


def _scaled(part, scale, axis):
    """Codes times the scale of their group along the inputs."""
    rows, columns = part.shape
    groups = scale.shape[axis]
    if groups == 1:
        return part * scale
    if axis == 0:
        part = tf.reshape(part, (groups, rows // groups, columns))
        return tf.reshape(part * scale[:, None], (rows, columns))
    part = tf.reshape(part, (-1, groups, columns // groups))
    return tf.reshape(part * scale[..., None], (-1, columns))
