"""Figures about early exit."""

from tfshrink.report.bar_chart import bar_chart
from tfshrink.report.line_chart import Line
from tfshrink.report.line_chart import line_chart

READ = "weights read for a token, of the full model's"
RIGHT = "the full model's tokens, %"


def draw_sweep(study, path):
    """Draws what each policy reads and how often it agrees, into a file.

    Args:
        study: Dict of `exits.diagnosis.study_exits`.
        path: PNG or SVG file.
    """
    sweep_chart(study).save(path)


def draw_calibration(study, path):
    """Draws how often each exit is right where its classifier is so sure."""
    calibration_chart(study).save(path)


def draw_positions(study, path):
    """Draws the mean depth of tokens over the text that was made."""
    positions_chart(study).save(path)


def sweep_chart(study):
    """A `Chart` of agreement over weights read, policy by policy."""
    names = sorted({_confidence(row) for row in study["sweep"]})
    lines = []
    for name in names:
        rows = [r for r in study["sweep"] if _confidence(r) == name]
        rows.sort(key=lambda row: row["weights_read"])
        lines.append(_policies(name, rows))
    tests = [own["test"] for own in study["suggestions"]]
    lines.append(_policies("tuned thresholds", tests, joined=False))
    if study.get("ppo"):
        learned = study["ppo"]["policies"]
        lines.append(_policies("learned by PPO", learned, joined=False))
    return line_chart(
        "exits",
        "Agreement of exit policies with the full model, over what they read.",
        lines,
        x_label=READ,
        y_label=RIGHT,
        size=(5.6, 4.4),
    )


def calibration_chart(study):
    """A `Chart` of how often exits are right, over their confidence."""
    lines = []
    for own, curve in zip(study["exits"], study["calibration"], strict=True):
        sure = [part["sure"] for part in curve]
        right = [part["right"] for part in curve]
        label = f"block {own['layer']}"
        texts = [
            f"{label}\nsure {part['sure']:.2f}, right {part['right']:.1%}"
            f"\n{part['tokens']:,} tokens"
            for part in curve
        ]
        lines.append(Line(label, sure, right, texts))
    return line_chart(
        "calibration",
        "How often an exit is right where its classifier is so sure; on the "
        "diagonal it is as often right as it says.",
        lines,
        x_label="classifier's confidence",
        y_label="share that is the full model's",
        diagonal=True,
    )


def positions_chart(study):
    """A `Chart` of the mean depth of tokens over the text made."""
    lines = []
    for own in study["suggestions"]:
        layers = own["test"]["by_position"]
        # Few short texts leave parts without any token.
        pairs = [
            ((place + 0.5) / len(layers), depth)
            for place, depth in enumerate(layers)
            if depth is not None
        ]
        places, depths = map(list, zip(*pairs, strict=True))
        lines.append(Line(f"tuned for {own['wanted']:.0%}", places, depths))
    return line_chart(
        "positions",
        "Blocks that a token runs, over the text made.",
        lines,
        x_label="position in the text made, as a share of it",
        y_label="blocks that a token ran",
    )


def histogram_chart(rows):
    """A `Chart` of the share of tokens that leave behind each block.

    Args:
        rows: Dict of a policy's name to its `by_layer`.
    """
    layers = sorted({int(layer) for own in rows.values() for layer in own})
    series = {
        name: [100.0 * own.get(str(layer), 0.0) for layer in layers]
        for name, own in rows.items()
    }
    return bar_chart(
        "exit_histogram",
        "Where tokens leave: the share of them that leaves behind each block; "
        "the last is the whole model.",
        [str(layer) for layer in layers],
        series,
        x_label="blocks run",
        y_label="tokens, %",
        unit=" % of the tokens",
    )


def _confidence(row):
    return row["exit"].partition(":")[0]


def _policies(label, rows, joined=True):
    return Line(
        label,
        [row["weights_read"] for row in rows],
        [100 * row["agreement"] for row in rows],
        [
            f"{row['exit']}\nagreement {row['agreement']:.1%}, weights read "
            f"{row['weights_read']:.3f}\n{row['layers']:.2f} blocks a token"
            for row in rows
        ],
        joined=joined,
    )
