"""From a spec to the codecs of a model's K/V cache."""

import numpy as np

from tfshrink.errors import UserError
from tfshrink.kv_spec import RATED
from tfshrink.layers.block_codecs import BlockCodecs
from tfshrink.layers.channel_codec import ChannelCodec
from tfshrink.layers.channel_codec import coefficient_bytes
from tfshrink.layers.channel_codec import MOST_CHANNELS
from tfshrink.layers.direct_codec import DirectCodec
from tfshrink.layers.int_codec import IntCodec
from tfshrink.layers.pca_codec import PCACodec
from tfshrink.layers.pca_codec import PCATable
from tfshrink.layers.time_codec import side_bytes
from tfshrink.layers.time_codec import TimeCodec
from tfshrink.models.kv_calibration import load_statistics
from tfshrink.models.kv_calibration import read_calibration
from tfshrink.models.plain_decoder import check_plain_decoder
from tfshrink.ops.bit_allocation import allocate
from tfshrink.ops.packing import WIDTHS
from tfshrink.ops.transforms import fixed_basis
from tfshrink.ops.transforms import LEAST

RUN = 8  # coefficients that share a bit-width, so that they fill bytes


def open_codecs(spec, source, length):
    """The codecs of a model at a cached length.

    Args:
        spec: `KVSpec`.
        source: `Source` of the model.
        length: Cached length in tokens, which a rate is reached at.

    Returns:
        `BlockCodecs`, or `None` where nothing is coded.

    Raises:
        UserError: A block longer than the context, a block of the model that
            is not there, a rate out of reach.
    """
    check_spec(spec, source.config, length)
    if spec.codec == "identity":
        return None
    coded = spec.coded_layers(source.config.layers)
    make = MAKERS[spec.codec](spec, source, length)
    return BlockCodecs(
        [make(index) if used else None for index, used in enumerate(coded)],
        window=spec.window,
        sinks=spec.sinks,
        dtype=spec.exact_dtype,
    )


def check_spec(spec, config, length):
    """Raises a `UserError` unless a model can have a codec at a length.

    Args:
        spec: `KVSpec`.
        config: `DecoderConfig`.
        length: Cached length in tokens.
    """
    check_plain_decoder(config, "kv")
    spec.coded_layers(config.layers)
    if spec.block > length:
        raise UserError(
            f"`kv` block must be at most the cached length of {length} tokens. "
            f"Received: {spec.block}"
        )
    channels = LEAST <= config.head_dim <= MOST_CHANNELS
    if spec.codec == "channel" and not channels:
        raise UserError(
            f"`kv` channel must be of heads of {LEAST} to {MOST_CHANNELS} "
            f"channels. Received: {config.name} with {config.head_dim}"
        )
    if spec.codec in RATED:
        vector_bytes(spec, config, length)


def vector_bytes(spec, config, length):
    """Bytes of a coded token's keys in a block; its values have as many.

    Gains count, which a token shares with its block.

    Args:
        spec: `KVSpec`.
        config: `DecoderConfig`.
        length: Cached length in tokens, where the spec has none.

    Raises:
        UserError: The rate is out of reach: it names the nearest.
    """
    numbers = config.kv_heads * config.head_dim
    least, most = _limits(spec, config)
    if spec.bits is not None:
        budget = spec.bits * numbers / 8
        if budget < least:
            raise UserError(
                f"`kv` bits must be at least {8 * least / numbers:.2f} for "
                f"{spec.codec}. Received: {spec.bits:g}"
            )
        return min(budget, most)
    length = spec.length or length
    blocks = max(0, length - 1 - spec.window) // spec.block
    coded = blocks * spec.block
    exact = exact_bytes(spec, config)
    share = sum(spec.coded_layers(config.layers)) / config.layers
    whole = 4 * numbers * length  # bytes of a block at 16 bits
    # Blocks that keep everything leave less to those that are coded.
    wanted = (whole / spec.rate - (1 - share) * whole) / share
    budget = (wanted - exact) / (2 * coded) if coded else 0.0
    if budget < least:
        smallest = share * (exact + 2 * least * coded) + (1 - share) * whole
        raise UserError(
            f"`kv` rate of {spec.codec} must be at most "
            f"{whole / smallest:.2f}x for {length} tokens with "
            f"window={spec.window}, block={spec.block} and "
            f"exact={8 if spec.exact_dtype == 'int8' else 16}. "
            f"Received: {spec.rate:g}x"
        )
    return min(budget, most)


def _limits(spec, config):
    """Least and most bytes of a coded token's keys in a block."""
    numbers = config.kv_heads * config.head_dim
    if spec.codec == "channel":
        price = coefficient_bytes(spec, config.kv_heads)
        return price, price * config.head_dim
    side = 1.0
    if spec.codec != "pca":
        side = side_bytes(spec.block, config.kv_heads, config.head_dim)
    return side + 1.0, side + numbers


def exact_bytes(spec, config):
    """Bytes of what stays exact, in one block of the model."""
    tokens = spec.sinks + spec.window + spec.block
    row = 2 * config.head_dim
    if spec.exact_dtype == "int8":
        row = config.head_dim + 2
    return 2 * tokens * config.kv_heads * row


def _pca(spec, source, length):
    """Makes the `PCACodec` of each block of the model."""
    config = source.config
    if spec.rotated and spec.block % 2:
        raise UserError(
            "`kv` block must be even for pca with rotated=true: a byte holds "
            f"two tokens. Received: {spec.block}"
        )
    budget = int(vector_bytes(spec, config, length)) - 1
    if spec.calibration is None:
        statistics = load_statistics(source)
    else:
        statistics = read_calibration(spec.calibration, source)

    def make(index):
        if not spec.rotated:
            tables = [pca_table(statistics, index, x, budget) for x in (0, 1)]
            return PCACodec(*tables, config.kv_heads, spec.block)
        tables = [direct_table(statistics, index, x, budget) for x in (2, 1)]
        centre = statistics.mean[index, 0].reshape(config.kv_heads, -1)
        return DirectCodec(*tables, config.kv_heads, spec.block, centre)

    return make


def _along_time(spec, source, length):
    """Makes a `TimeCodec`, the same for all blocks."""
    config = source.config
    codec = TimeCodec(
        fixed_basis(BASES[spec.codec], spec.block),
        config.kv_heads,
        config.head_dim,
        vector_bytes(spec, config, length),
        rotated=spec.rotated,
    )
    return lambda index: codec


def _across_channels(spec, source, length):
    """Makes a `ChannelCodec`, the same for all blocks."""
    config = source.config
    price = coefficient_bytes(spec, config.kv_heads)
    codec = ChannelCodec(
        config.head_dim,
        int(vector_bytes(spec, config, length) / price),
        spec.block,
        method=spec.method or "per_vector",
        select=spec.select or "topk",
        rotated=spec.rotated,
    )
    return lambda index: codec


def _integers(spec, source, length):
    """Makes an `IntCodec`, the same for all blocks."""
    bits = int(spec.codec.removeprefix("int"))
    codec = IntCodec(bits, spec.block, spec.rotated)
    return lambda index: codec


def pca_table(statistics, index, kind, budget):
    """Bits by what each coefficient leaves, the best within a budget.

    Args:
        statistics: `KVStatistics`.
        index: Number of the block of the model.
        kind: 0 for keys, 1 for values, 2 for keys after RoPE.
        budget: Bytes of the codes of a vector.

    Returns:
        `PCATable`.
    """
    left = statistics.left[index, kind]  # (5, F)
    items = -(-left.shape[1] // RUN)
    padded = np.pad(left, ((0, 0), (0, items * RUN - left.shape[1])))
    runs = padded.reshape(len(left), items, RUN).sum(-1)
    level = allocate(runs, [0, *WIDTHS], budget)
    widths = np.array([0, *WIDTHS])[np.repeat(level, RUN)][: left.shape[1]]
    return _table(statistics, index, kind, widths)


def direct_table(statistics, index, kind, budget):
    """The same of 4 and 8 bits alone, as `DirectCodec` takes it.

    Args:
        statistics: `KVStatistics`.
        index: Number of the block of the model.
        kind: 1 for values, 2 for keys after RoPE.
        budget: As in `pca_table`; what 8 bits each do not fill is left.
    """
    left = statistics.left[index, kind][[0, 3, 4]]
    columns = min(2 * budget, 2 * left.shape[1])
    level = allocate(left, [0, 1, 2], columns)
    widths = 4 * level
    while widths.sum() < 4 * columns:  # all codecs of a model have as many
        widths[np.argmin(widths)] += 4
    return _table(statistics, index, kind, widths)


def _table(statistics, index, kind, widths):
    """The `PCATable` of coefficients with so many bits each, `(F,)`."""
    order = np.argsort(-widths, kind="stable")
    kept = order[: int((widths > 0).sum())]
    used = [bits for bits in reversed(WIDTHS) if (widths == bits).any()]
    steps = statistics.steps[index, kind]
    row = np.array([0, *WIDTHS]).searchsorted(widths)
    own = steps[row, np.arange(len(widths))]
    return PCATable(
        mean=statistics.mean[index, kind],
        metric=statistics.metric[index, kind],
        backward=statistics.backward[index, kind][kept],
        variances=statistics.variances[index, kind][kept],
        widths=tuple(used),
        counts=tuple(int((widths == bits).sum()) for bits in used),
        steps=own[kept].astype("float32"),
    )


BASES = {"dct": "dct", "pswf": "dpss"}  # along time, of `ops.transforms`
MAKERS = {
    "channel": _across_channels,
    "dct": _along_time,
    "pswf": _along_time,
    "int8": _integers,
    "int4": _integers,
    "int2": _integers,
    "pca": _pca,
}
