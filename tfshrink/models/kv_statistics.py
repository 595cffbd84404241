"""How a model's keys and values vary, and how much that matters."""

import dataclasses

import numpy as np
from keras import ops

from tfshrink.errors import UserError
from tfshrink.layers.switchable_dense import project
from tfshrink.ops import rotary
from tfshrink.ops.packing import WIDTHS

FAR = 64  # tokens between a query and what it counts for
FACTORS = (0.8, 1.0, 1.25, 1.6, 2.0, 2.6, 3.4)  # of a Gaussian's best step
STEPS = {1: 1.597, 2: 0.997, 4: 0.336, 8: 0.031}  # best for a unit Gaussian
SHARE = 0.5  # of a token's weight that its attention decides
FLOOR = 1e-4  # least weight of a direction, of the largest one


@dataclasses.dataclass(frozen=True)
class KVStatistics:
    """What `PCACodec` is built from; F numbers of all heads of a block.

    Axis 1 is keys before RoPE, values, and keys less their mean after RoPE
    (whose own mean is zero). A coefficient of numbers x is
    `(x - mean) M b / v`, with a row b of `backward` and its variance v; x is
    the mean and coefficients times rows.

    Args:
        mean: `(L, 3, F)` float32.
        metric: `(L, 3, H_kv, D, D)`: an error e of a head counts as e' M e.
        backward: `(L, 3, F, F)`: rows along which numbers vary, as long as
            they do, the one that matters most first.
        variances: `(L, 3, F)`: how much each row counts in the metric.
        left: `(L, 3, 5, F)`: weighted squared error of each coefficient with
            no bits, 1, 2, 4 and 8.
        steps: `(L, 3, 5, F)`: the quantization step that leaves it.
    """

    mean: np.ndarray
    metric: np.ndarray
    backward: np.ndarray
    variances: np.ndarray
    left: np.ndarray
    steps: np.ndarray


def check_statistics(found, config, path):
    """Raises a `UserError` unless statistics are those of a model's shape.

    Args:
        found: `KVStatistics`.
        config: `DecoderConfig`.
        path: Their file, for the error.
    """
    layers, heads, size = config.layers, config.kv_heads, config.head_dim
    numbers, kinds = heads * size, len(STEPS) + 1
    shapes = {
        "mean": (layers, 3, numbers),
        "metric": (layers, 3, heads, size, size),
        "backward": (layers, 3, numbers, numbers),
        "variances": (layers, 3, numbers),
        "left": (layers, 3, kinds, numbers),
        "steps": (layers, 3, kinds, numbers),
    }
    for name, shape in shapes.items():
        array = getattr(found, name)
        real = np.issubdtype(array.dtype, np.floating)
        if array.shape != shape or not real or not np.isfinite(array).all():
            raise UserError(
                f"{path}: `{name}` must be finite numbers of shape {shape}. "
                f"Received: {array.dtype} of {array.shape}"
            )


def kv_statistics(model, tokens, *, progress=lambda done: None):
    """Runs a model block by block and gathers what its keys and values do.

    A token counts by half through the attention it gets from far behind: a
    few tokens in the middle of a text get as much as the first one, and an
    error in their keys costs more than any other. A number of a key counts by
    the power of the queries that meet it, averaged over the turns of RoPE, a
    direction of values by what the output projection makes of it.

    Args:
        model: A built `Decoder`, run in full precision.
        tokens: Integer `(N, T)`.
        progress: Called with the number of blocks that are done.

    Returns:
        `KVStatistics`.
    """
    tokens = np.asarray(tokens, "int32")
    columns = np.arange(tokens.shape[1])[None]
    rows, rotation = [], None
    for row in tokens:
        x, rotation = model.embed(ops.convert_to_tensor(row[None]), columns)
        rows.append(x)
    found = []
    for index, block in enumerate(model.blocks):
        runs = []
        for place, x in enumerate(rows):
            runs.append(_seen(block, x, rotation))
            maps = []
            block.attention.tap = maps.append
            try:
                rows[place], _ = block(x, None, rotation)
            finally:
                block.attention.tap = None
            runs[-1]["weights"] = _attention(maps[0])
        found.append(_of_block(block, runs, rotation))
        progress(index + 1)
    fields = range(len(dataclasses.fields(KVStatistics)))
    return KVStatistics(
        *[
            np.stack([[kind[field] for kind in own] for own in found])
            for field in fields
        ]
    )


def _seen(block, x, rotation):
    """Keys and values of one sequence, `(T, F)`, and power of its queries."""
    own = block.attention
    layers = [own.query, own.key, own.value]
    flat = project(layers, block.attention_norm(x), None)
    query, key, value = (
        ops.convert_to_numpy(ops.cast(part[0], "float32")) for part in flat
    )
    config = own.config
    heads, width = config.kv_heads, config.head_dim
    query = query.reshape(len(query), heads, -1, width)
    power = np.square(query).mean((0, 2))  # (H_kv, D)
    if rotation is not None:  # a turn mixes the halves
        half = power.reshape(heads, 2, width // 2).mean(1, keepdims=True)
        power = np.broadcast_to(half, (heads, 2, width // 2))
    return {"keys": key, "values": value, "power": power.reshape(-1)}


def _attention(maps):
    """Mean attention that each token gets from `FAR` behind, `(T,)`."""
    maps = ops.mean(maps[0], axis=0)  # over heads, (T, T)
    length = maps.shape[0]
    places = np.arange(length)
    far = places[None] < places[:, None] - FAR
    total = ops.sum(ops.where(far, maps, 0.0), axis=0)
    readers = np.maximum(far.sum(0), FAR)
    total = ops.convert_to_numpy(ops.cast(total, "float32"))
    return total / readers


def _of_block(block, runs, rotation):
    """The fields of `KVStatistics` for each kind of vectors of a block."""
    sinks = np.zeros(len(runs[0]["weights"]))
    sinks[:4] = 1.0
    inside = np.tile(1.0 - sinks, len(runs))
    got = np.concatenate([run["weights"] for run in runs]) * inside
    weights = SHARE * got / max(got.sum(), 1e-30)
    weights = weights + (1 - SHARE) * inside / inside.sum()
    power = np.mean([run["power"] for run in runs], axis=0)
    shape = block.attention.config.kv_heads, -1
    metrics = {
        "keys": np.stack([np.diag(own) for own in power.reshape(shape)]),
        "values": _read_by_output(block.attention),
    }
    keys, values = (
        np.concatenate([run[kind] for run in runs]) for kind in metrics
    )
    mean = weights @ keys
    return [
        _axes(keys, mean, weights, metrics["keys"]),
        _axes(values, weights @ values, weights, metrics["values"]),
        _axes(
            _turned(keys - mean, rotation, shape[0]),
            np.zeros_like(mean),
            weights,
            metrics["keys"],
        ),
    ]


def _turned(keys, rotation, heads):
    """Keys `(n, F)` of several sequences, after RoPE."""
    if rotation is None:
        return keys
    cosine, sine = (ops.convert_to_numpy(x)[:, :, 0] for x in rotation)
    _, length, width = cosine.shape
    wide = keys.reshape(-1, length, heads, width)
    found = rotary.rotate(wide, cosine[:, :, None], sine[:, :, None])
    return ops.convert_to_numpy(found).reshape(keys.shape)


def _read_by_output(layer):
    """What the output projection makes of values, `(H_kv, D, D)`."""
    config = layer.config
    heads, width = config.kv_heads, config.head_dim
    kernel = ops.convert_to_numpy(layer.output_dense.kernel)
    kernel = kernel.astype("float64").reshape(heads, -1, width, config.width)
    return np.einsum("hgdc,hgec->hde", kernel, kernel)


def _axes(x, mean, weights, metric):
    """Mean, axes, and what quantizing coefficients along them leaves.

    Args:
        x: `(n, F)`.
        mean: `(F,)`.
        weights: `(n,)`, of sum 1.
        metric: `(H_kv, D, D)`.
    """
    values, vectors = np.linalg.eigh(metric.astype("float64"))
    roots = np.sqrt(np.maximum(values, max(values.max() * FLOOR, 1e-30)))
    turned = np.swapaxes(vectors, -1, -2)
    root = _diagonal((vectors * roots[:, None]) @ turned)
    inverse = _diagonal((vectors / roots[:, None]) @ turned)
    metric = (vectors * np.square(roots)[:, None]) @ turned
    weighted = (x - mean) @ root
    moments = (weighted * weights[:, None]).T @ weighted
    variances, axes = np.linalg.eigh(moments)
    variances, axes = variances[::-1], axes[:, ::-1]
    deviations = np.sqrt(np.maximum(variances, max(variances[0], 1e-20) * 1e-8))
    forward = root @ axes / deviations
    backward = ((deviations * axes).T @ inverse).astype("float32")
    z = (x - mean) @ forward
    gains = np.sqrt(np.maximum(np.square(z).mean(1, keepdims=True), 1e-12))
    left, steps = _quantized(
        (z / gains).astype("float32"),
        (weights * gains[:, 0] ** 2).astype("float32"),
    )
    variances = np.square(deviations)
    mean, metric = mean.astype("float32"), metric.astype("float32")
    return mean, metric, backward, variances, left * variances, steps


def _diagonal(blocks):
    """Blocks `(H_kv, D, D)` as one matrix `(F, F)`."""
    from scipy.linalg import block_diag

    return block_diag(*blocks)


def _quantized(z, weights):
    """Errors and best steps of midrise quantizers, each `(5, F)`."""
    nothing = weights @ np.square(z)
    left, best = [nothing], [np.zeros_like(nothing)]
    for bits in WIDTHS:
        half = 2 ** (bits - 1)
        steps = np.array(FACTORS, "float32") * STEPS[bits]
        errors = []
        for step in steps:
            codes = np.clip(np.floor(z / step), -half, half - 1)
            errors.append(weights @ np.square((codes + 0.5) * step - z))
        errors = np.stack(errors)
        left.append(errors.min(0))
        best.append(steps[errors.argmin(0)])
    return np.stack(left).astype("float64"), np.stack(best)
