"""Keys and values transformed across channels, some coefficients kept."""

from keras import ops

from tfshrink.layers.kv_codec import KVCodec
from tfshrink.ops.transforms import fixed_basis

DTYPE = "bfloat16"  # of what is kept
MOST_CHANNELS = 256  # a place is one byte


class ChannelCodec(KVCodec):
    """Cosines across the channels of a head, of which `kept` stay.

    What stays is not quantized. `lowpass` keeps the first coefficients, `topk`
    the largest: of each vector (`per_vector`, its places stored beside), or
    the same for all vectors of a block of tokens (`layer_wise`).

    Args:
        width: Head width D, at most `MOST_CHANNELS`.
        kept: Coefficients of a vector that stay.
        block: Tokens that are coded together.
        method: `"per_vector"` or `"layer_wise"`.
        select: `"topk"` or `"lowpass"`.
        rotated: Whether keys are coded after RoPE.
    """

    def __init__(self, width, kept, block, *, method, select, rotated=False):
        self.basis = fixed_basis("dct", width)  # (D, D), rows
        self.kept = kept
        self.block = block
        self.method = method
        self.select = select
        self.rotated = rotated

    def encode(self, key, value):
        """See `KVCodec`."""
        return {
            f"{name}_{part}": x[:, None]
            for name, numbers in (("key", key), ("value", value))
            for part, x in self._encoded(numbers).items()
        }

    def _encoded(self, x):
        """Coefficients `(B, n, H_kv, kept)`, and their places."""
        basis = ops.convert_to_tensor(self.basis.astype("float32"))
        z = ops.matmul(ops.cast(x, "float32"), ops.transpose(basis))
        if self.select == "lowpass":
            return {"numbers": ops.cast(z[..., : self.kept], DTYPE)}
        power = ops.square(z)
        if self.method == "layer_wise":
            power = ops.sum(power, axis=(1, 2), keepdims=True)
        _, places = ops.top_k(power, self.kept)
        shape = (*z.shape[:3], self.kept)
        wide = ops.broadcast_to(places, shape)
        numbers = ops.take_along_axis(z, wide, axis=-1)
        return {
            "numbers": ops.cast(numbers, DTYPE),
            "places": ops.cast(places, "uint8"),
        }

    def keys(self, packed, dtype):
        """See `KVCodec`."""
        return ops.matmul(*self._rows("key", packed, dtype))

    def mix(self, weights, packed):
        """See `KVCodec`: weights meet coefficients, the basis comes last."""
        rows, basis = self._rows("value", packed, weights.dtype)
        rows = ops.transpose(rows, (0, 2, 1, 3))  # (B, H_kv, S, K)
        return ops.matmul(ops.matmul(weights, rows), basis)

    def _rows(self, name, packed, dtype):
        """Coefficients `(B, S, H_kv, K)`, and what they multiply, `(K, D)`."""
        numbers = ops.cast(packed[f"{name}_numbers"], dtype)
        basis = ops.cast(self.basis.astype("float32"), dtype)
        if self.select == "lowpass":
            return _joined(numbers), basis[: self.kept]
        places = ops.cast(packed[f"{name}_places"], "int32")
        ones = ops.one_hot(places, len(self.basis), dtype=dtype)
        dense = ops.matmul(numbers[..., None, :], ones)[..., 0, :]
        return _joined(dense), basis


def coefficient_bytes(spec, heads):
    """Bytes of one more coefficient of all heads of a token.

    Args:
        spec: `KVSpec`.
        heads: Key/value heads H_kv.
    """
    if spec.select == "lowpass":
        return 2.0 * heads
    if spec.method == "layer_wise":
        return 2.0 * heads + 1.0 / spec.block
    return 3.0 * heads


def _joined(x):
    """Blocks `(B, blocks, n, H_kv, m)` in a row: `(B, S, H_kv, m)`."""
    return ops.reshape(x, (-1, x.shape[1] * x.shape[2], *x.shape[3:]))
