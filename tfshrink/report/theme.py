"""Colours of figures and page: each has a name, a light and a dark value.

Eight hues that readers with any colour blindness tell apart (after Okabe and
Ito), darkened or lightened until they stand out from the paper; series also
differ in marker and dash.
"""

LIGHT = {
    "paper": "#fefefe",
    "ink": "#1b2430",
    "note": "#525d6c",
    "grid": "#dde2e8",
    "line": "#8792a1",
    "good": "#00695d",
    "bad": "#b3261f",
    "c0": "#0065a8",
    "c1": "#bf4a00",
    "c2": "#00795c",
    "c3": "#9a3b86",
    "c4": "#7a6201",
    "c5": "#4a4f58",
}
DARK = {
    "paper": "#12161c",
    "ink": "#e8ecf1",
    "note": "#aab4c0",
    "grid": "#2c343e",
    "line": "#6b7684",
    "good": "#4dd0b1",
    "bad": "#ff8a80",
    "c0": "#5db8f5",
    "c1": "#ff9556",
    "c2": "#35c9a0",
    "c3": "#e59bd3",
    "c4": "#dcc04a",
    "c5": "#b4bcc6",
}
SERIES = tuple(name for name in LIGHT if name[0] == "c")
MARKERS = "osD^vPX*"
DASHES = ("-", "--", "-.", ":", (0, (5, 1)))
MAP = "cividis"  # of heat maps; made for colour-blind readers
DARKEST = 0.25  # of it: below, cells do not stand out from dark paper
TEXT = 11.5  # points


def series(place):
    """Colour, marker and dash of the series at a place, as keywords."""
    return {
        "color": LIGHT[SERIES[place % len(SERIES)]],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": DASHES[place % len(DASHES)],
    }


def color_map():
    """Matplotlib's map of heat maps."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    steps = [DARKEST + (1.0 - DARKEST) * i / 255 for i in range(256)]
    return ListedColormap(matplotlib.colormaps[MAP](steps))


def settings(salt):
    """Matplotlib's settings for a figure.

    Args:
        salt: What the ids inside its SVG depend on beside their shapes.
    """
    ink, note = LIGHT["ink"], LIGHT["note"]
    return {
        "text.parse_math": False,  # a plan's name may hold a dollar
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "font.size": TEXT,
        "legend.fontsize": TEXT,
        "legend.frameon": False,
        "axes.titlesize": TEXT,
        "axes.edgecolor": LIGHT["line"],
        "axes.facecolor": "none",
        "axes.labelcolor": ink,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": LIGHT["grid"],
        "hatch.color": LIGHT["line"],
        "text.color": ink,
        "xtick.color": LIGHT["line"],
        "ytick.color": LIGHT["line"],
        "xtick.labelcolor": note,
        "ytick.labelcolor": note,
        "lines.linewidth": 1.6,
        "lines.markersize": 4.5,
        "lines.scale_dashes": True,
        "figure.facecolor": LIGHT["paper"],
        "savefig.facecolor": LIGHT["paper"],
    }
