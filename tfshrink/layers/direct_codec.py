"""Principal components that queries meet as they are stored."""

import numpy as np
from keras import ops

from tfshrink.fusion import fuse
from tfshrink.layers.kv_codec import KVCodec
from tfshrink.layers.pca_codec import coefficients
from tfshrink.ops.gains import gains


class DirectCodec(KVCodec):
    """Principal components of keys after RoPE and of values, 4 or 8 bits each.

    Neither is decoded: queries are turned by the basis and multiplied with
    codes, attention weights are multiplied with codes and the basis comes
    last. A coefficient of 8 bits is two columns of 4, its halves, so that all
    codes lie alike and one product serves all: that is what makes it fast.
    A byte holds two tokens of one column.

    The mean of keys before RoPE, most of their energy, is not coded: it is
    `centre`, and its scores are known.

    Args:
        keys: `PCATable` of what RoPE makes of keys less their mean; widths
            are 8 and 4.
        values: `PCATable`.
        heads: Key/value heads H_kv.
        block: Tokens that are coded together, an even number.
        centre: `(H_kv, D)`: mean of the keys before RoPE.
    """

    rotated = True

    def __init__(self, keys, values, heads, block, centre):
        self.key_table = keys
        self.value_table = values
        self.heads = heads
        self.block = block
        self.tables = {
            **_columns(keys, heads, "key"),
            **_columns(values, heads, "value"),
            "mean": np.asarray(values.mean, "float32").reshape(heads, -1),
            "centre": np.asarray(centre, "float32"),
        }

    @property
    def centre(self):
        """See `KVCodec`."""
        return self.tables["centre"]

    @property
    def signature(self):
        """See `KVCodec`."""
        shapes = {name: tuple(x.shape) for name, x in self.tables.items()}
        return (type(self), self.heads, self.block, *sorted(shapes.items()))

    @property
    def table_bytes(self):
        """See `KVCodec`."""
        tables = self.key_table, self.value_table
        return 4 * self.centre.size + sum(own.table_bytes for own in tables)

    def encode(self, key, value):
        """See `KVCodec`."""
        return {
            f"{name}_{part}": x
            for name, table, numbers in (
                ("key", self.key_table, key),
                ("value", self.value_table, value),
            )
            for part, x in _encoded(table, numbers).items()
        }

    def keys(self, packed, dtype):
        """See `KVCodec`."""
        codes = unpacked(packed["key_codes"], "float32")
        basis, constant = self.tables["key_basis"], self.tables["key_constant"]
        x = ops.einsum("bsn,hdn->bshd", codes, ops.convert_to_tensor(basis))
        own = ops.reshape(gains(packed["key_gain"]), (-1, codes.shape[1], 1, 1))
        return ops.cast((x + constant) * own, dtype)

    def scores(self, query, packed):
        """See `KVCodec`."""
        dtype = query.dtype
        _, heads, rows, _ = query.shape
        basis = ops.cast(self.tables["key_basis"], dtype)[None]
        turned = ops.matmul(query, basis)  # (B, H, R, N)
        flat = ops.reshape(turned, (-1, heads * rows, turned.shape[-1]))
        flat, codes = fuse(_ready)(flat, packed["key_codes"])
        found = ops.matmul(flat, ops.transpose(codes, (0, 2, 1)))
        found = ops.reshape(found, (-1, heads, rows, codes.shape[1]))
        constant = ops.cast(self.tables["key_constant"], dtype)
        rest = ops.matmul(query, constant[None, :, :, None])
        return fuse(_scaled)(found, rest, packed["key_gain"])

    def mix(self, weights, packed):
        """See `KVCodec`."""
        dtype = weights.dtype
        _, heads, rows, length = weights.shape
        weighted, codes = fuse(_ready_to_mix)(
            weights, packed["value_codes"], packed["value_gain"]
        )
        flat = ops.reshape(weighted, (-1, heads * rows, length))
        mixed = ops.matmul(flat, codes)
        mixed = ops.reshape(mixed, (-1, heads, rows, codes.shape[-1]))
        basis = ops.cast(self.tables["value_basis"], dtype)[None]  # (1,H,D,N)
        out = ops.matmul(mixed, ops.transpose(basis, (0, 1, 3, 2)))
        ends = [
            ops.cast(self.tables[name], dtype)[None, :, None]
            for name in ("value_constant", "mean")
        ]
        return fuse(_ended)(out, weights, weighted, *ends)


def unpacked(codes, dtype):
    """Codes `(B, m, n / 2, N)`, two tokens a byte, as numbers from -8 to 7.

    Returns:
        `(B, m n, N)` in a compute type.
    """
    shifts = np.array([0, 4], "uint8").reshape(1, 1, 2, 1, 1)
    x = ops.right_shift(codes[:, :, None], shifts)
    x = ops.bitwise_and(x, np.array(15, "uint8"))
    x = ops.cast(x, "float32") - 8.0
    if dtype == "bfloat16":  # whole numbers lose nothing; no rounding is faster
        x = ops.right_shift(ops.view(x, "uint32"), np.array(16, "uint32"))
        x = ops.view(ops.cast(x, "uint16"), "bfloat16")
    _, blocks, _, half, columns = x.shape
    return ops.reshape(ops.cast(x, dtype), (-1, blocks * 2 * half, columns))


def _columns(table, heads, name):
    """Basis `(H_kv, D, N)` of a table's columns, and its constant."""
    rows = (table.backward * table.steps[:, None]).astype("float32")
    wide = table.counts[0] if table.widths[0] == 8 else 0
    columns = np.concatenate([16 * rows[:wide], rows])
    constant = 8.5 * rows[:wide].sum(0) + 0.5 * rows[wide:].sum(0)
    by_head = columns.reshape(len(columns), heads, -1)
    return {
        f"{name}_basis": by_head.transpose(1, 2, 0).copy(),
        f"{name}_constant": constant.astype("float32").reshape(heads, -1),
    }


def _encoded(table, x):
    """Codes, two tokens a byte, and gains of `(B, n, H_kv, D)`."""
    z, own = coefficients(table, x)  # (B, n, kept)
    wide = table.counts[0] if table.widths[0] == 8 else 0
    z = ops.floor(z)
    eight = ops.clip(z[..., :wide] + 128.0, 0, 255)
    high = ops.floor(eight / 16.0)
    four = ops.clip(z[..., wide:] + 8.0, 0, 15)
    codes = ops.concatenate([high, eight - 16.0 * high, four], axis=-1)
    half = codes.shape[1] // 2
    codes = codes[:, :half] + 16.0 * codes[:, half:]
    return {"codes": ops.cast(codes, "uint8")[:, None], "gain": own[:, None]}


def _ready(flat, codes):
    """Unpacks for a product that follows; never before its other side is."""
    return flat, unpacked(codes, flat.dtype)


def _ready_to_mix(weights, codes, own):
    own = ops.reshape(gains(own), (-1, 1, 1, weights.shape[-1]))
    weighted = ops.cast(ops.cast(weights, "float32") * own, weights.dtype)
    return weighted, unpacked(codes, weights.dtype)


def _scaled(found, rest, own):
    """Scores from products: what the constants give, and gains of tokens."""
    own = ops.reshape(gains(own), (-1, 1, 1, found.shape[-1]))
    whole = ops.cast(found, "float32") + ops.cast(rest, "float32")
    return ops.cast(whole * own, found.dtype)


def _ended(out, weights, weighted, constant, mean):
    """Adds what constants and means give."""
    share, total = (
        ops.sum(ops.cast(x, "float32"), axis=-1, keepdims=True)
        for x in (weights, weighted)
    )
    out = ops.cast(out, "float32") + total * ops.cast(constant, "float32")
    return ops.cast(out + share * ops.cast(mean, "float32"), weights.dtype)
