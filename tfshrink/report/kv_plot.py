"""Quality of K/V caches over their bytes, as one figure."""

from tfshrink.report.line_chart import Line
from tfshrink.report.line_chart import line_chart

LEAST = 1e-4  # of what is drawn: a logarithmic axis has no zero


def draw_kv(points, path, *, title=""):
    """Draws how much perplexity rises over size, into a file.

    Args:
        points: As `kv_chart` takes them.
        path: PNG or SVG file.
        title: As `kv_chart` takes it.
    """
    kv_chart(points, title).save(path)


def kv_chart(points, title=""):
    """A figure of how much perplexity rises, over the size of a cache.

    Points of one family are joined, in order of their size.

    Args:
        points: List of dicts: `family`, `smaller` (times, than 16 bits),
            `ratio` (perplexity, to the exact cache's); `name`, and `bytes`,
            which are the size that is shown where every point has them.
        title: What the perplexity is of.

    Returns:
        `Chart`.
    """
    families = dict.fromkeys(point["family"] for point in points)
    counted = all("bytes" in point for point in points)
    lines = []
    for family in families:
        own = [point for point in points if point["family"] == family]
        own.sort(key=lambda point: (point["smaller"], point["ratio"]))
        lines.append(
            Line(
                family,
                [
                    point["bytes"] / 1e6 if counted else point["smaller"]
                    for point in own
                ],
                [max(point["ratio"] - 1.0, LEAST) for point in own],
                [_text(point) for point in own],
            )
        )
    size = "MB of one sequence" if counted else "times smaller than 16 bits"
    caption = "How much perplexity rises, over the size of the cache"
    return line_chart(
        "kv",
        f"{caption}: {title}." if title else f"{caption}.",
        lines,
        x_label=f"{size}, everything counted",
        y_label=f"perplexity ratio less 1 (at least {LEAST:g})",
        log=True,
        size=(5.6, 4.2),
    )


def _text(point):
    size = f"{point['smaller']:.2f} times smaller"
    if "bytes" in point:
        size += f", {point['bytes'] / 1e6:.2f} MB"
    name = point.get("name", point["family"])
    return f"{name}\n{size}\nperplexity ratio {point['ratio']:.4f}"
