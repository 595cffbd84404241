"""Figures about early exit."""

from tfshrink.report.figure import figure


def draw_sweep(study, path):
    """Draws what each policy reads and how often it agrees.

    Args:
        study: Dict of `exits.diagnosis.study_exits`.
        path: PNG or SVG file.
    """
    with figure(path) as (_, (axis,)):
        names = sorted({_confidence(row) for row in study["sweep"]})
        for name in names:
            rows = [r for r in study["sweep"] if _confidence(r) == name]
            rows.sort(key=lambda row: row["weights_read"])
            axis.plot(*_points(rows), ".-", lw=0.8, ms=4, label=name)
        tests = [own["test"] for own in study["suggestions"]]
        axis.plot(*_points(tests), "k*", label="tuned, one threshold an exit")
        if study["ppo"]:
            learned = study["ppo"]["policies"]
            axis.plot(*_points(learned), "kx", ms=5, label="learned by PPO")
        axis.axvline(1.0, color="black", lw=0.8, ls=":")
        axis.set_xlabel("weights read for a token, of the full model's")
        axis.set_ylabel("tokens that are the full model's, %")
        axis.legend(frameon=False, fontsize=8)


def draw_calibration(study, path):
    """Draws how often each exit is right where its classifier is so sure."""
    with figure(path, size=(4.8, 4.2)) as (_, (axis,)):
        axis.plot([0, 1], [0, 1], color="black", lw=0.8, ls=":")
        for own, curve in zip(
            study["exits"], study["calibration"], strict=True
        ):
            sure = [part["sure"] for part in curve]
            right = [part["right"] for part in curve]
            axis.plot(sure, right, ".-", label=f"block {own['layer']}")
        axis.set_xlabel("classifier's confidence")
        axis.set_ylabel("share of tokens that are the full model's")
        axis.legend(frameon=False, fontsize=8)


def draw_positions(study, path):
    """Draws the mean depth of tokens over the text that was made."""
    with figure(path) as (_, (axis,)):
        for own in study["suggestions"]:
            layers = own["test"]["by_position"]
            places = [(i + 0.5) / len(layers) for i in range(len(layers))]
            label = f"tuned for {own['wanted']:.0%}"
            axis.plot(places, layers, ".-", label=label)
        axis.set_xlabel("position in the text made")
        axis.set_ylabel("blocks that a token ran")
        axis.legend(frameon=False, fontsize=8)


def _confidence(row):
    return row["exit"].partition(":")[0]


def _points(rows):
    read = [row["weights_read"] for row in rows]
    return read, [100 * row["agreement"] for row in rows]
