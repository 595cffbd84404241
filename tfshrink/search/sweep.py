"""Changes one layer group at a time and measures what comes of it."""

import time

import numpy as np
from scipy import stats

from tfshrink.search.sensitivity import Sensitivity

MEANS = ("kl", "jsd", "mse", "mae", "perplexity")


def changes(names, widths, pruning=()):
    """Every change of a single layer group.

    Args:
        names: Layer groups in model order.
        widths: Bit-widths.
        pruning: `(level, sparsity)` pairs, of the groups of blocks, whose bits
            stay at 16.

    Yields:
        `(number of the group, bits, level, sparsity)`.
    """
    for index, name in enumerate(names):
        for bits in widths:
            yield index, bits, 0.0, "unstructured"
        if name.startswith("block_"):
            for level, sparsity in pruning:
                yield index, 16, level, sparsity


def sweep(evaluator, widths, pruning=(), *, fisher=None, progress=None):
    """Measures the sensitivity of every layer group.

    All other groups stay in full precision, and only the blocks from the
    changed one on are run.

    Args:
        evaluator: `Evaluator` that measures `kl`, too.
        widths: Bit-widths to try.
        pruning: As of `changes`.
        fisher: `Fisher` of the same model, or `None`.
        progress: Called with the number of finished changes.

    Returns:
        `Sensitivity`; its `info` has the `base` (full precision in the model
        that is changed), the rank `correlation` of estimate and divergence,
        `seconds`, and how many blocks were run of how many.
    """
    start = time.monotonic()
    base = evaluator.uniform(16)
    info = {"base": measured(evaluator(base, keep=True))}
    before, rows = evaluator.judge.blocks, []
    for index, bits, level, sparsity in changes(base.names, widths, pruning):
        own, levels = list(base.bits), [0.0] * len(base.bits)
        own[index], levels[index] = bits, level
        plan = evaluator.plan(own, pruning=levels, sparsity=sparsity)
        row = {
            "group": base.names[index],
            "bits": bits,
            "pruning": level,
            "sparsity": sparsity,
            **measured(evaluator(plan)),
        }
        if fisher is not None and not level:
            row["estimate"] = estimate(fisher, index, bits)
        rows.append(row)
        if progress is not None:
            progress(len(rows))
    info["correlation"] = correlation(rows)
    info["seconds"] = time.monotonic() - start
    info["blocks_run"] = evaluator.judge.blocks - before
    info["blocks_of_all"] = len(rows) * evaluator.config.layers
    return Sensitivity(rows, base.names, evaluator.identity, info)


def measured(found):
    """What a row says of an `Evaluation`."""
    worst = {f"margin_{name}": own for name, own in found.worst.items()}
    means = {name: found.means[name] for name in MEANS}
    return {**means, "margin": found.margin, **worst}


def estimate(fisher, index, bits):
    """The divergence that `fisher` expects of one change, nats.

    Args:
        fisher: `Fisher`.
        index: Number of the layer group.
        bits: Its bit-width.

    Returns:
        A number, or `None` for an embedding that is no head: looking up rows
        of it has no Fisher information here.
    """
    model, forward = fisher.model, fisher.forward
    blocks = 4 * model.config.layers
    if index < blocks:
        now, then = (
            [
                np.asarray(own[0], "float32")
                for own in forward.weights(
                    index // 4, index % 4, np.int32(width)
                )
            ]
            for width in (bits, 16)
        )
    elif index == blocks and not model.config.tied:
        return None
    else:
        outer = np.full(len(model.groups()), 16, "int32")
        changed = outer.copy()
        changed[index] = bits
        # Columns of the head, as `Fisher` holds a tied one: (V, C).
        now, then = (
            [np.asarray(forward.head(own), "float32")]
            for own in (changed, outer)
        )
        if model.config.tied:
            now, then = [now[0].T], [then[0].T]
    moved = [a - b for a, b in zip(now, then, strict=True)]
    return fisher.divergence(index, moved)


def correlation(rows):
    """Spearman's rank correlation of estimate and divergence, or `None`."""
    pairs = [
        (row["estimate"], row["kl"])
        for row in rows
        if row.get("estimate") is not None
    ]
    if len(pairs) < 3:
        return None
    return float(stats.spearmanr(*zip(*pairs, strict=True)).statistic)
