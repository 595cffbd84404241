"""Quality of K/V caches over their bytes, as one figure."""

from tfshrink.report.figure import figure

MARKERS = "osD^vPX*"
LEAST = 1e-4  # of what is drawn: a logarithmic axis has no zero


def draw_kv(points, path, *, title=""):
    """Draws how much perplexity rises, over how much smaller a cache is.

    Points of one family are joined, in order of their size.

    Args:
        points: List of dicts: `family`, `smaller` (times, than 16 bits),
            `ratio` (perplexity, to the exact cache's).
        path: PNG or SVG file.
        title: Above the figure.
    """
    families = list(dict.fromkeys(point["family"] for point in points))
    with figure(path, size=(7.5, 4.6)) as (_, (axis,)):
        for place, family in enumerate(families):
            own = sorted(
                (point["smaller"], max(point["ratio"] - 1.0, LEAST))
                for point in points
                if point["family"] == family
            )
            axis.plot(
                *zip(*own, strict=True),
                marker=MARKERS[place % len(MARKERS)],
                linewidth=1.2,
                label=family,
            )
        axis.set_yscale("log")
        axis.set_xlabel("times smaller than 16 bits, everything counted")
        axis.set_ylabel("perplexity ratio less 1")
        axis.set_title(title, fontsize=10)
        axis.grid(visible=True, which="both", alpha=0.25)
        axis.legend(fontsize=8)
