"""Bits over the layers of plans, as one figure."""

import numpy as np

from tfshrink.layer_groups import BLOCK_GROUPS
from tfshrink.report.heat_chart import heat_chart
from tfshrink.report.heat_chart import Panel

MOST = 6  # plans of a figure
GAP = 1  # columns between the blocks and what lies outside them


def bit_map(plans):
    """A figure of the bits of every layer group, plan by plan.

    Rows are kinds of layers, columns blocks; embedding and head stand behind.

    Args:
        plans: List of `Plan` of one model; evenly spread ones are shown where
            there are more than `MOST`.

    Returns:
        `Chart`.
    """
    shown = plans
    if len(plans) > MOST:
        step = (len(plans) - 1) / (MOST - 1)
        shown = [plans[round(place * step)] for place in range(MOST)]
    blocks = shown[0].layers
    outer = shown[0].names[len(BLOCK_GROUPS) * blocks :]
    kinds = sorted({bits for plan in shown for bits in plan.bits})
    which = f"{len(shown)} of {len(plans)} plans" if shown != plans else "plans"
    columns = [str(i) for i in range(blocks)] + [""] * (GAP + len(outer))
    return heat_chart(
        "bit_map",
        f"Bits of every layer group of the {which}; at the right: "
        f"{' and '.join(outer)}.",
        [_panel(plan) for plan in shown],
        x_label="block of the model",
        columns=columns,
        label="bits",
        kinds=kinds,
    )


def _panel(plan):
    count = len(BLOCK_GROUPS)
    inside = np.array(plan.bits[: count * plan.layers], "float64")
    grid = inside.reshape(-1, count).T
    outer = np.array(plan.bits[count * plan.layers :], "float64")
    values = np.concatenate(
        [
            grid,
            np.full((count, GAP), np.nan),
            np.repeat(outer[None], count, axis=0),
        ],
        axis=1,
    )
    names = np.array(plan.names[: count * plan.layers]).reshape(-1, count).T
    texts = [
        [f"{plan.name}: {name}\n{bits:g} bits" for name, bits in row]
        + [""] * GAP
        + [
            f"{plan.name}: {name}\n{bits:g} bits"
            for name, bits in zip(
                plan.names[count * plan.layers :], outer, strict=True
            )
        ]
        for row in (
            list(zip(*own, strict=True))
            for own in zip(names, grid, strict=True)
        )
    ]
    rows = [kind.replace("_", " ") for kind in BLOCK_GROUPS]
    return Panel(plan.name, values, rows, texts)
