"""Figures of a basis, and of what it makes of keys and values."""

import numpy as np

from tfshrink.evaluation.kv_heads import KINDS
from tfshrink.report.figure import figure

LINES = 8  # functions that are drawn as curves


def draw_basis(basis, path, *, title=""):
    """Draws the first functions as curves, and all of them as an image.

    Args:
        basis: `(K, n)`.
        path: PNG or SVG file.
        title: Name of the basis.
    """
    count = min(LINES, len(basis))
    most, highest = np.abs(basis).max(), np.abs(basis[:count]).max()
    with figure(path, 2, size=(7.0, 8.0)) as (own, axes):
        for row in range(count):
            axes[0].plot(row - basis[row] / (2.2 * highest), linewidth=1.2)
        axes[0].invert_yaxis()  # the first one is on top, as below
        axes[0].set_yticks(range(count))
        axes[0].set_ylabel("function")
        axes[0].set_title(f"{title}: the first {count}", fontsize=10)
        image = axes[1].imshow(
            basis, aspect="auto", cmap="RdBu_r", vmin=-most, vmax=most
        )
        axes[1].set_ylabel("function")
        axes[1].set_xlabel("token of the block")
        axes[1].set_title("all", fontsize=10)
        own.colorbar(image, ax=axes[1], label="value")


def draw_compaction(rows, path, *, kept):
    """Draws what the best coefficients hold, over layers and heads.

    Args:
        rows: Of `diagnose`.
        path: PNG or SVG file.
        kept: Number of coefficients, for the label.
    """
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    layers = sorted({row["layer"] for row in rows})
    heads = 1 + max(row["head"] for row in rows)
    shares = np.full((len(kinds), heads, len(layers)), np.nan)
    for row in rows:
        place = layers.index(row["layer"])
        shares[kinds.index(row["kind"]), row["head"], place] = row["best"]
    low, high = np.nanmin(shares), np.nanmax(shares)
    height = 1.0 + len(kinds) * max(1.3, 0.25 * heads + 0.6)
    with figure(path, len(kinds), size=(9.0, height)) as (own, axes):
        for kind, axis, part in zip(kinds, axes, shares, strict=True):
            image = axis.imshow(part, aspect="auto", vmin=low, vmax=high)
            axis.set_yticks(range(heads))
            axis.set_ylabel("head")
            axis.set_title(KINDS[kind], loc="left", fontsize=10)
        step = -(-len(layers) // 32)
        places = range(0, len(layers), step)
        axes[-1].set_xticks(places, [str(layers[i]) for i in places])
        axes[-1].set_xlabel("block of the model")
        label = f"energy in the best {kept} coefficients"
        own.colorbar(image, ax=axes, label=label)
