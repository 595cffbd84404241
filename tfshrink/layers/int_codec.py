"""Keys in integers a channel, values in integers a token."""

from keras import ops

from tfshrink.layers.kv_codec import KVCodec
from tfshrink.ops.packing import pack
from tfshrink.ops.packing import unpack


class IntCodec(KVCodec):
    """Asymmetric integers between the least and the largest of a group.

    A channel of the keys is a group along the tokens of a block: some channels
    are far larger than others. A token's values in a head are one.

    Reference: Liu et al., KIVI, arXiv:2402.02750, with keys before RoPE, as
    Hooper et al., KVQuant, arXiv:2401.18079.

    Args:
        bits: Bit-width of a number, of `packing.WIDTHS`.
        block: Tokens that are coded together.
        rotated: Whether keys are coded after RoPE.
    """

    def __init__(self, bits, block, rotated=False):
        self.bits = bits
        self.block = block
        self.rotated = rotated

    def encode(self, key, value):
        """See `KVCodec`."""
        return {
            f"{name}_{part}": x[:, None]
            for name, numbers, axis in (("key", key, 1), ("value", value, 3))
            for part, x in self._encoded(numbers, axis).items()
        }

    def _encoded(self, x, axis):
        """Codes `(B, n, H_kv, D bits / 8)`, steps and least numbers."""
        x, top = ops.cast(x, "float32"), 2**self.bits - 1
        low = ops.cast(ops.min(x, axis=axis, keepdims=True), "bfloat16")
        start = ops.cast(low, "float32")
        high = ops.max(x, axis=axis, keepdims=True)
        step = ops.cast(ops.maximum(high - start, 1e-12) / top, "bfloat16")
        codes = ops.round((x - start) / ops.cast(step, "float32"))
        codes = ops.clip(codes, 0, top)
        return {"codes": pack(codes, self.bits), "step": step, "low": low}

    def keys(self, packed, dtype):
        """See `KVCodec`."""
        codes = unpack(packed["key_codes"], self.bits, dtype)
        step, low = packed["key_step"], packed["key_low"]
        x = codes * ops.cast(step, dtype) + ops.cast(low, dtype)
        return _joined(x)

    def mix(self, weights, packed):
        """See `KVCodec`: steps of tokens go to the weights."""
        dtype = weights.dtype
        codes = _joined(unpack(packed["value_codes"], self.bits, dtype))
        codes = ops.transpose(codes, (0, 2, 1, 3))  # (B, H_kv, S, D)
        step, low = (
            ops.transpose(
                ops.cast(_joined(packed[f"value_{part}"]), dtype), (0, 2, 3, 1)
            )
            for part in ("step", "low")
        )
        rest = ops.sum(weights * low, axis=-1, keepdims=True)
        return ops.matmul(weights * step, codes) + rest


def _joined(x):
    """Blocks `(B, blocks, n, H_kv, m)` in a row: `(B, S, H_kv, m)`."""
    return ops.reshape(x, (-1, x.shape[1] * x.shape[2], *x.shape[3:]))
