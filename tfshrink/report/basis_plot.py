"""Figures of a basis, and of what it makes of keys and values."""

import numpy as np

from tfshrink.report.figure import figure
from tfshrink.report.heat_chart import heat_chart
from tfshrink.report.heat_chart import Panel

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
    compaction_chart(rows, kept).save(path)


def compaction_chart(rows, kept):
    """The same as a `Chart`."""
    kinds = dict.fromkeys(row["kind"] for row in rows)
    layers = sorted({row["layer"] for row in rows})
    heads = 1 + max(row["head"] for row in rows)
    return heat_chart(
        "compaction",
        f"Energy of keys and values in their best {kept} coefficients.",
        [
            _panel([row for row in rows if row["kind"] == kind], layers, heads)
            for kind in kinds
        ],
        x_label="block of the model",
        columns=[str(layer) for layer in layers],
        label=f"energy in the best {kept} coefficients",
    )


def _panel(rows, layers, heads):
    kind = rows[0]["kind"].replace("_", " ")
    shares = np.full((heads, len(layers)), np.nan)
    for row in rows:
        shares[row["head"], layers.index(row["layer"])] = row["best"]
    texts = [
        [
            f"{kind}, block {layer}, head {head}\n{share:.3f} of the energy"
            for layer, share in zip(layers, own, strict=True)
        ]
        for head, own in enumerate(shares)
    ]
    names = [f"head {head}" for head in range(heads)]
    return Panel(kind, shares, names, texts)
