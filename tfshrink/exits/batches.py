"""What a batch costs whose tokens would leave at different depths."""

import numpy as np

from tfshrink.exits.choice import chosen_exits

SIZES = (1, 2, 4, 8, 16)  # sequences of a batch
DRAWS = 32  # ways to make batches


def batch_layers(trace, spec, sizes=SIZES, *, seed=0):
    """Mean blocks that a step of a batch runs, and how many were wanted.

    Sequences of a batch share a step: it goes as deep as the deepest of those
    that have not ended, and those behind their end ask for nothing. Batches
    are made by chance, or of sequences that are alike: sorted by the mean
    depth of their tokens, which is known only afterwards and so is the most
    that sorting could bring.

    Args:
        trace: `ExitTrace`.
        spec: `ExitSpec`; how tokens that wait are completed is not counted.
        sizes: Sequences of a batch; those above the trace's are left out.
        seed: Of the batches.

    Returns:
        List of dicts: `size`, `layers` (mean of a step), `sorted_layers`,
        `wanted` (mean blocks that the tokens themselves ask for).
    """
    depths = np.array([*trace.layers, trace.depth])
    depth = np.where(trace.made, depths[chosen_exits(trace, spec)], 0)
    # Steps count from each prompt's end, wherever that lies in its row.
    depth = np.stack(
        [
            np.concatenate([own[made], np.zeros((~made).sum(), own.dtype)])
            for own, made in zip(depth, trace.made, strict=True)
        ]
    )
    wanted = depth[depth > 0].mean()
    means = depth.sum(axis=1) / np.maximum((depth > 0).sum(axis=1), 1)
    ranked = depth[np.argsort(means, kind="stable")]
    random = np.random.default_rng(seed)
    found = []
    for size in sizes:
        if size > len(depth):
            break
        drawn = [_steps(random.permutation(depth), size) for _ in range(DRAWS)]
        found.append(
            {
                "size": size,
                "layers": float(np.concatenate(drawn).mean()),
                "sorted_layers": float(_steps(ranked, size).mean()),
                "wanted": float(wanted),
            }
        )
    return found


def _steps(depth, size):
    """Depth of each step of whole batches; steps that nobody needs are none."""
    count = len(depth) // size * size
    deepest = depth[:count].reshape(-1, size, depth.shape[1]).max(axis=1)
    return deepest[deepest > 0]
