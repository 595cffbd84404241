"""Weights in packed bytes, and the function that unpacks them in a graph."""

import functools

import numpy as np
import tensorflow as tf

from tfshrink.deploy.litert.packed_weight import pack_codes
from tfshrink.fusion import fuse
from tfshrink.ops.quantize import FULL

# Bits a code takes; between native widths the next wider one.
STORED = {2: 2, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 8: 8}


class PackedStore(tf.Module):
    """One weight at one bit-width, as few bytes as its codes need.

    Args:
        dense: `FrozenDense`.
        axis: Where the model has the weight's inputs: 0 for kernels `(inputs,
            outputs)`, 1 for tables `(V, C)`.

    Raises:
        ValueError: rows do not fill whole bytes.
    """

    def __init__(self, dense, axis):
        super().__init__()
        self.bits = dense.bits
        self.axis = axis
        self.scale = self.down = self.up = None
        self.stored = STORED.get(dense.bits)
        turned = np.transpose if axis == 0 else np.asarray
        codes = np.ascontiguousarray(turned(dense.codes))
        self.shape = codes.shape
        if dense.scale is None:
            dtype = "float16" if dense.bits == FULL else "float32"
            self.codes = tf.Variable(codes.astype(dtype), trainable=False)
            return
        if codes.shape[1] * self.stored % 8:
            self.stored = 8  # rows that fill no whole bytes stay unpacked
        packed = pack_codes(codes, self.stored)
        packed = packed.reshape(codes.shape[0], -1)
        self.codes = tf.Variable(packed, trainable=False)
        # Group scales are bfloat16 values.
        dtype = "bfloat16" if dense.scale.shape[1] > 1 else "float32"
        scale = tf.cast(turned(dense.scale), dtype)
        self.scale = tf.Variable(scale, trainable=False)
        if dense.down is not None:
            self.down = tf.Variable(dense.down.astype("float16"))
            self.up = tf.Variable(dense.up.T.astype("float16"))

    def weight(self):
        """The weight as float32, its adapter added."""
        if self.scale is None:
            return tf.cast(self.codes, "float32")
        unpack = fuse(_unpacker(self.stored, self.bits == 2, self.axis))
        weight = unpack(tf.convert_to_tensor(self.codes), self.scale)
        if self.down is None:
            return weight
        down, up = (tf.cast(x, "float32") for x in (self.down, self.up))
        return weight + tf.matmul(down, up, transpose_a=True)


@functools.cache
def _unpacker(stored, half, axis):
    """Packed bytes and scales to floats, one function a layout."""

    def unpack(packed, scale):
        rows, each = packed.shape[0], 8 // stored
        shifts = tf.constant(np.arange(each) * stored, "uint8")
        parts = tf.bitwise.right_shift(packed[..., None], shifts)
        # Up against the sign bit and back: the sign spreads.
        rest = 8 - stored
        parts = tf.bitwise.left_shift(parts, tf.constant(rest, "uint8"))
        parts = tf.bitcast(parts, "int8")
        codes = tf.bitwise.right_shift(parts, tf.constant(rest, "int8"))
        codes = tf.cast(tf.reshape(codes, (rows, -1)), "float32")
        columns = codes.shape[1]
        scale = tf.cast(scale, "float32")
        if half:
            codes = codes + 0.5
        if axis == 0:
            codes = tf.reshape(codes, (scale.shape[0], -1, columns))
            return tf.reshape(codes * scale[:, None], (rows, columns))
        codes = tf.reshape(codes, (rows, scale.shape[1], -1))
        return tf.reshape(codes * scale[..., None], (rows, columns))

    return unpack
