"""How every figure is drawn and saved."""

import contextlib


@contextlib.contextmanager
def figure(path, rows=1, *, size=(7.0, 4.2)):
    """A Matplotlib figure that is saved when the block ends.

    Args:
        path: PNG or SVG file.
        rows: Axes below each other, with one horizontal axis.
        size: Inches.

    Yields:
        `(figure, axes)`, the axes as a list.
    """
    import matplotlib

    from tfshrink.files import atomic_write

    matplotlib.use("Agg")
    from matplotlib import pyplot

    own, axes = pyplot.subplots(
        rows, 1, figsize=size, sharex=True, squeeze=False, layout="constrained"
    )
    try:
        yield own, list(axes[:, 0])
        kind = str(path).rpartition(".")[2]
        with atomic_write(path, "wb") as file:
            own.savefig(file, dpi=120, format=kind)
    finally:
        pyplot.close(own)
